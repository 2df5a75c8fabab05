"""Watch a growing piece of text for the end of its step."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Protocol

from rsdecode.core.segment import Boundary, StepReader
from rsdecode.text.thought_form import shown_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TAIL = 16
"""Tokens of the prompt that a detokeniser needs to place spaces."""
LONGEST_CHARACTER = 4
"""Bytes, and so tokens, of one character at most."""


class Detokenizes(Protocol):
    """Makes text of tokens as they come."""

    def add(self, token: int) -> str:
        """The text that `token` adds; empty while a character is incomplete."""
        ...


class Detokenizer:
    """Text of tokens as they come, exact where characters or spaces span several tokens.

    Special tokens add no text, except the marks of thoughts. A character that the prompt left
    incomplete is completed by the first tokens added.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, prompt: tuple[int, ...]) -> None:
        from tokenizers.decoders import DecodeStream

        self._backend: Any = getattr(tokenizer, "backend_tokenizer", None)
        self._tokenizer: Any = tokenizer
        self._shown = _shown(tokenizer)
        tail = list(prompt[-TAIL:])
        whole = self._complete(tail)
        one_character = len(tail) < LONGEST_CHARACTER
        self._ids = tail[whole:] if whole or one_character else []  # else no text at all
        self._length = 0
        self._stream: Any = DecodeStream(ids=tail[:whole], skip_special_tokens=True)
        if self._backend is not None:
            for token in self._ids:
                self._stream.step(self._backend, token)

    def add(self, token: int) -> str:
        """The text that `token` adds; empty while a character is incomplete."""
        if (mark := self._shown.get(token)) is not None:
            return mark
        if self._backend is not None:
            return self._stream.step(self._backend, token) or ""
        self._ids.append(token)
        text: str = self._tokenizer.decode(self._ids, skip_special_tokens=True)
        if text.endswith("\ufffd"):
            return ""
        new, self._length = text[self._length :], len(text)
        return new

    def _complete(self, ids: list[int]) -> int:
        """How many of `ids` make whole characters."""
        for end in range(len(ids), 0, -1):
            if not self._tokenizer.decode(ids[:end], skip_special_tokens=True).endswith("\ufffd"):
                return end
        return 0


def _shown(tokenizer: Any) -> dict[int, str]:
    """The special tokens that are shown, by their ids; found once for each tokenizer."""
    known: dict[int, str] | None = getattr(tokenizer, "_rsd_shown", None)
    if known is None:
        added: dict[int, Any] = tokenizer.added_tokens_decoder
        special = {index: token.content for index, token in added.items() if token.special}
        marks = shown_tokens(special.values())
        known = {index: text for index, text in special.items() if text in marks}
        tokenizer._rsd_shown = known
    return known


@dataclass(slots=True)
class StepText:
    """The tokens of one step and the text that each of them completes."""

    boundary: Boundary
    detokenizer: Detokenizes
    ids: list[int] = field(default_factory=list[int])
    text: str = ""
    _lengths: list[int] = field(default_factory=list[int])
    _reader: StepReader = field(init=False)

    def __post_init__(self) -> None:
        self._reader = self.boundary.reader()

    @property
    def pieces(self) -> list[str]:
        """The text that each of the tokens adds; joined, they are the text."""
        return [self.text[start:end] for start, end in pairwise([0, *self._lengths])]

    def add(self, token: int) -> bool:
        """Append a token; True when the step is complete.

        A token that goes on after the boundary is cut off, unless it adds only white space (or is
        the step's only token): ids and text always agree, and nothing is tokenised again.
        """
        self.ids.append(token)
        new = self.detokenizer.add(token)
        self.text += new
        self._lengths.append(len(self.text))
        if self.boundary.tokens and len(self.ids) >= self.boundary.tokens:
            return True
        end = self._reader.add(new) if self.boundary.stops else None
        if end is None:
            return False
        if self.text[end:].strip():
            self._cut(end)
        return True

    def _cut(self, end: int) -> None:
        kept = max(1, sum(length <= end for length in self._lengths))
        self.text = self.text[: self._lengths[kept - 1]]
        del self.ids[kept:], self._lengths[kept:]
