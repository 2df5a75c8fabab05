"""Keeps text text: what people and models wrote never becomes a control token.

A tokenizer finds its special tokens in a text wherever they are spelled, so a question that holds
`<|im_end|>` would end the user's turn. Here the tokens that a chat template writes are given names
that nobody can write, in the text and in a copy of the tokenizer. What messages spell is then
ordinary text to that copy, and everything else is tokenised exactly as before, across the borders
of messages too.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from rsdecode.text.thought_form import HARMONY, HARMONY_PATTERNS, shown_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Ids = tuple[int, ...]
_SECRET = secrets.token_hex(8)
"""So that no text can spell the names below; no result depends on it."""
_NEVER = re.compile("(?!)")


class ControlTokens:
    """The tokens of a tokenizer that structure a conversation.

    These are its special tokens, and added tokens that its chat template writes. Other added tokens
    (runs of spaces, say) are ordinary text.

    Args:
        tokenizer: any of transformers.
        written: the literal text of its chat template.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, written: str = "") -> None:
        self._tokenizer: Any = tokenizer
        added: dict[int, Any] = tokenizer.added_tokens_decoder
        named = set(getattr(tokenizer, "chat_control_tokens", None) or ())
        self._ids = {
            token.content: index
            for index, token in added.items()
            if token.special
            or token.content in named
            or (token.content in written and not token.content.isspace())
        }
        special = {token.content for token in added.values() if token.special}
        self._anywhere = _any_of(self._ids)
        own = _any_of(special - shown_tokens(special) | (special & set(HARMONY)))
        self._in_answers = re.compile(f"(?P<mark>{'|'.join(HARMONY_PATTERNS)})|{own.pattern}")

    @property
    def examples(self) -> tuple[str, ...]:
        """How they are spelled."""
        return tuple(self._ids)

    def starting(self, text: str) -> int | None:
        """The control token that `text` starts with, white space before it aside."""
        found = self._anywhere.match(text.lstrip())
        return None if found is None else self._ids[found[0]]

    def within(self, text: str) -> set[int]:
        """All control tokens that a text holds."""
        return {self._ids[found[0]] for found in self._anywhere.finditer(text)}

    def shielded(self, text: str) -> str:
        """The text of a message with stand-ins for the control tokens that it spells."""
        return self._renamed(self._anywhere, "text", text)

    def rendered_ids(self, text: str) -> Ids:
        """The tokens of a rendered conversation whose messages were `shielded`."""
        text = self._renamed(self._anywhere, "token", text)
        return self._encode(text)

    def answer_ids(self, text: str) -> Ids | None:
        """The tokens of a text that a model wrote; None where it spells no special token."""
        if not self._in_answers.search(text):
            return None
        text = self._in_answers.sub(
            lambda found: found["mark"] or _name("text", self._ids[found[0]]), text
        )
        return self._encode(self._renamed(self._anywhere, "token", text))

    def _renamed(self, pattern: re.Pattern[str], kind: str, text: str) -> str:
        return pattern.sub(lambda found: _name(kind, self._ids[found[0]]), text)

    def _encode(self, text: str) -> Ids:
        """The tokens of a text in which every control token has its name or stands for text."""
        spelling = {_name("text", index): token for token, index in self._ids.items()}
        if self._copy is None:
            return self._in_pieces(text, spelling)
        literal = _any_of(spelling).sub(lambda found: spelling[found[0]], text)
        return self._copy(literal)

    @cached_property
    def _copy(self) -> Callable[[str], Ids] | None:
        """Encodes with a copy of the tokenizer that knows control tokens by their names alone."""
        backend: Any = getattr(self._tokenizer, "backend_tokenizer", None)
        if backend is None:
            return None
        from tokenizers import Tokenizer

        names = {token: _name("token", index) for token, index in self._ids.items()}
        try:
            state = _with_names(json.loads(backend.to_str()), names)
            copy: Any = Tokenizer.from_str(json.dumps(state))
        except Exception:  # noqa: BLE001 - tokenizers raises plain exceptions
            return None
        added: dict[int, Any] = self._tokenizer.added_tokens_decoder
        moved: dict[int, int] = {
            copy.token_to_id(names.get(token.content, token.content)): index
            for index, token in added.items()
        }

        def encode(text: str) -> Ids:
            ids: list[int] = copy.encode(text, add_special_tokens=False).ids
            return tuple(moved.get(index, index) for index in ids)

        return encode

    def _in_pieces(self, text: str, spelling: dict[str, str]) -> Ids:
        """The same for tokenizers that cannot be copied: piece by piece."""
        tokens = {_name("token", index): index for index in self._ids.values()}
        ids: list[int] = []
        for piece in re.split(f"({_any_of([*spelling, *tokens]).pattern})", text):
            if piece in tokens:
                ids.append(tokens[piece])
            elif piece in spelling:
                ids += self._spelled_out(spelling[piece])
            elif piece:
                ids += self._plain(piece)
        return tuple(ids)

    def _spelled_out(self, token: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(
            token, add_special_tokens=False, split_special_tokens=True
        )
        if not set(ids) & set(self._ids.values()):
            return ids
        return [index for character in token for index in self._plain(character)]

    def _plain(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False)
        return ids


def _with_names(state: Any, names: dict[str, str]) -> Any:
    """A tokenizer's JSON with other names for some tokens."""
    model = state["model"]
    vocabulary = model["vocab"]
    if isinstance(vocabulary, dict):
        entries = cast("dict[str, int]", vocabulary)
        model["vocab"] = {names.get(token, token): index for token, index in entries.items()}
    else:
        model["vocab"] = [[names.get(token, token), *rest] for token, *rest in vocabulary]
    if model.get("merges"):
        model["merges"] = [m for m in model["merges"] if _merged(m) not in names]
    if model.get("unk_token") in names:
        model["unk_token"] = names[model["unk_token"]]
    for token in state["added_tokens"]:
        token["content"] = names.get(token["content"], token["content"])
    state["post_processor"] = None  # adds special tokens, by the names that it knows
    return state


def _merged(merge: Any) -> str:
    """What a merge of two tokens gives; it is written as a list or as one text."""
    return merge.replace(" ", "", 1) if isinstance(merge, str) else "".join(merge)


def _name(kind: str, index: int) -> str:
    """A name in characters that Unicode keeps for programs' own use."""
    return f"\ufdd0{_SECRET}{kind}{index}\ufdd1"


def _any_of(texts: Iterable[str]) -> re.Pattern[str]:
    """Any of `texts`, the longest first as tokenizers do."""
    longest = sorted(filter(None, texts), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest))) if longest else _NEVER
