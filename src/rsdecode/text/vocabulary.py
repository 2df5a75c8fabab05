"""A tokenizer as reward formats use it: no special tokens that nobody asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING, Any, TypeVar

from rsdecode.core.errors import ModelLoadError, RequestError
from rsdecode.core.types import Message
from rsdecode.text.chat_template import NO_ARGUMENTS, ChatTemplate
from rsdecode.text.control_tokens import ControlTokens, Ids
from rsdecode.text.step_text import Detokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["Ids", "Vocabulary"]

Encoded = TypeVar("Encoded")
_BEFORE = ("\n", ".", "0")
"""Texts that some tokenizer may merge with what follows, but hardly any tokenizer all of them."""


class Vocabulary:
    """Turns text, marks and conversations into token ids.

    Args:
        tokenizer: any of transformers.
        arguments: of its chat template.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, arguments: Mapping[str, Any] = NO_ARGUMENTS
    ) -> None:
        self._tokenizer: Any = tokenizer
        self.template = ChatTemplate(tokenizer, arguments)

    @cached_property
    def control(self) -> ControlTokens:
        """The tokens that structure conversations."""
        return ControlTokens(self._tokenizer, self.template.literal_text)

    @property
    def name(self) -> str:
        """Where the tokenizer came from, for messages."""
        return self._tokenizer.name_or_path or type(self._tokenizer).__name__

    @property
    def bos(self) -> str:
        """The text of the beginning-of-sequence token; empty where there is none."""
        return self._tokenizer.bos_token or ""

    @property
    def eos(self) -> str:
        """The text of the end-of-sequence token; empty where there is none."""
        return self._tokenizer.eos_token or ""

    def ids(self, text: str) -> Ids:
        """The tokens of `text`; special tokens wherever the text spells them.

        For marks and other text of ours: see `text_ids` and `chat_ids` for that of others.

        Raises:
            RequestError: the text is not valid Unicode.
        """
        return _encoded(self._encode, text)

    def text_ids(self, text: str) -> Ids:
        """The tokens of a text that a model wrote: special tokens that it spells stay text.

        Raises:
            RequestError: the text is not valid Unicode.
        """
        ids = _encoded(self.control.answer_ids, text)
        return self.ids(text) if ids is None else ids

    def places(self, ids: Ids) -> tuple[int, ...]:
        """Where in the text of `ids` each of them ends, in characters.

        A token that ends within a character ends where the character begins.
        """
        words = Detokenizer(self._tokenizer, ())
        return tuple(accumulate(len(words.add(token)) for token in ids))

    def continuing_ids(self, text: str) -> Ids:
        """The tokens of a text that a model wrote, in the middle of a sequence.

        Many tokenizers put a space before each text that they are given (Llama 2's, Mistral's):
        there is none here.

        Raises:
            RequestError: the text is not valid Unicode.
        """
        return self.continuing(lambda before: self.text_ids(before + text))

    def continuing(self, encode: Callable[[str], Ids]) -> Ids:
        """What `encode` makes of a text that follows another, which it is given, without that."""
        if self._puts_spaces:
            for before in _BEFORE:
                start, whole = self.ids(before), encode(before)
                if whole[: len(start)] == start:
                    return whole[len(start) :]
        return encode("")

    @cached_property
    def _puts_spaces(self) -> bool:
        """Whether a text at the beginning gets a space that it does not get behind another."""
        start, whole = self.ids("\n"), self.ids("\nx")
        return whole[: len(start)] == start and whole[len(start) :] != self.ids("x")

    def chat_ids(self, messages: Sequence[Message], *, reply: bool) -> Ids:
        """The conversation in the model's chat template (see `chat`), as tokens.

        Control tokens are those that the template writes; what messages spell stays text.

        Raises:
            ModelLoadError: the tokenizer has no chat template, or it refuses such messages.
            RequestError: the text is not valid Unicode.
        """
        return self.filled_ids(messages, lambda shielded: self.chat(shielded, reply=reply))

    def enclosed_ids(self, before: str, text: str, after: str = "") -> Ids:
        """The tokens of a text of others between two of ours; what it spells stays text.

        Raises:
            RequestError: the text is not valid Unicode.
        """

        def enclosed(safe: Sequence[Message]) -> str:
            return f"{before}{safe[0].content}{after}"

        return self.filled_ids([Message("user", text)], enclosed)

    def filled_ids(
        self, messages: Sequence[Message], render: Callable[[Sequence[Message]], str]
    ) -> Ids:
        """The tokens of what `render` makes of messages; what they spell stays text.

        Raises:
            RequestError: the text is not valid Unicode.
        """
        safe = [replace(m, content=self.control.shielded(m.content)) for m in messages]
        if all(old == new for old, new in zip(messages, safe, strict=True)):
            return self.ids(render(messages))
        return _encoded(self.control.rendered_ids, render(safe))

    def token(self, mark: str) -> int:
        """The token that is exactly `mark`.

        Raises:
            ModelLoadError: there is none.
        """
        ids = self.ids(mark)
        if len(ids) != 1 or self._text(ids[0]) != mark:
            raise self._lacks(mark)
        return ids[0]

    def last_token(self, mark: str) -> int:
        """The last token of `mark`, for tokenizers that put a space before it.

        Raises:
            ModelLoadError: it is not the whole mark, but a byte of it or the unknown token.
        """
        ids = self.ids(mark)
        if not ids or self._text(ids[-1]).strip(" ") != mark:
            raise self._lacks(mark)
        return ids[-1]

    def spelling(self, mark: str) -> Ids:
        """The tokens of `mark`, be they one or several.

        Raises:
            ModelLoadError: they do not spell it: part of it is unknown to the tokenizer.
        """
        ids = self.ids(mark)
        if self._text(*ids).strip(" ") != mark.strip(" "):
            raise self._lacks(mark)
        return ids

    def mark(self, text: str) -> Ids:
        """The token that is all of `text`, perhaps after a space; else the tokens that spell it.

        Raises:
            ModelLoadError: they do not spell it: part of it is unknown to the tokenizer.
        """
        ids = self.ids(text)
        if ids and self._text(ids[-1]).strip(" ") == text.strip(" "):
            return ids[-1:]
        return self.spelling(text)

    def sign(self, text: str) -> int:
        """The token that a model says `text` with, tokenised by itself.

        Signs that are tokenised together are not alike in byte-level vocabularies: the second of
        "+ -" is another token, with a space in it.

        Raises:
            ModelLoadError: it is not a single token.
        """
        ids = self.ids(text)
        alike = [i for i in ids[-1:] if text in (self._text(i), self._text(i).strip(" "))]
        if not alike or self._text(*ids).strip(" ") != text.strip(" "):
            raise ModelLoadError(
                f"the sign {text!r} is not a single token of the tokenizer {self.name!r} (ids "
                f"{list(ids)}): name the signs that the reward model was trained with by "
                "--reward-good and --reward-bad, or another kind of reward model"
            )
        return alike[0]

    def chat(self, messages: Sequence[Message], *, reply: bool) -> str:
        """The conversation in the model's chat template; with `reply`, up to where a reply starts.

        Raises:
            ModelLoadError: the tokenizer has no chat template, or it refuses such messages.
        """
        if not self.template:
            raise ModelLoadError(
                f"the tokenizer of {self.name!r} has no chat template, which this reward model "
                "needs: save one with the tokenizer"
            )
        return self.template.render(messages, reply=reply)

    def _encode(self, text: str) -> Ids:
        return tuple(self._tokenizer.encode(text, add_special_tokens=False, verbose=False))

    def _text(self, *ids: int) -> str:
        return self._tokenizer.decode(list(ids), clean_up_tokenization_spaces=False)

    def _lacks(self, mark: str) -> ModelLoadError:
        return ModelLoadError(
            f"the step mark {mark!r} is not in the vocabulary of the tokenizer {self.name!r}: "
            "use the tokenizer that the reward model was trained with, name its mark by "
            "--reward-mark or --reward-separator, or another kind of reward model"
        )


def _encoded(encode: Callable[[str], Encoded], text: str) -> Encoded:
    """What `encode` makes of a text, with an error of ours where it is not valid Unicode."""
    try:
        return encode(text)
    except (TypeError, UnicodeError) as error:
        raise RequestError(
            f"{text[:80]!r} cannot be tokenised ({error}): it holds lone surrogates; clean the "
            "input"
        ) from error
