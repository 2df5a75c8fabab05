"""What each token of a GGUF file's vocabulary stands for, and text of tokens as they come.

llama.cpp says what it wrote as text and as token ids, but not which token brought which bytes: a
step that is cut at its boundary needs that.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Sequence
from functools import cached_property

from rsdecode.backends.llama_cpp.gguf_file import GgufFile, Span
from rsdecode.core.errors import ModelLoadError
from rsdecode.text.step_text import LONGEST_CHARACTER
from rsdecode.text.thought_form import shown_tokens

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
"""Kinds of tokens, as GGUF numbers them."""
SPACE = "\u2581"
BYTE_LEVEL, SENTENCE_PIECE = "gpt2", "llama"
"""Vocabularies whose pieces are read here: nearly all decoders have one of them."""
_BYTE = re.compile(rb"<0x([0-9A-Fa-f]{2})>")


def _bytes_of_characters() -> dict[str, int]:
    """GPT-2's characters for bytes: printable ones stand for themselves, others for 256 + n."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table = {chr(byte): byte for byte in plain}
    others = (byte for byte in range(256) if byte not in set(plain))
    return table | {chr(256 + place): byte for place, byte in enumerate(others)}


_BYTES = _bytes_of_characters()


class Pieces:
    """The bytes of each token.

    Raises:
        ModelLoadError: the file has no vocabulary, or one of a kind that is not read here.
    """

    def __init__(self, file: GgufFile) -> None:
        kind, tokens = (file.metadata.get(f"tokenizer.ggml.{name}") for name in ("model", "tokens"))
        if kind not in (BYTE_LEVEL, SENTENCE_PIECE) or not isinstance(tokens, Span):
            raise ModelLoadError(
                f"{str(file.path)!r} has a vocabulary of the kind {kind!r}; those read here are "
                f"{BYTE_LEVEL!r} and {SENTENCE_PIECE!r}: set llamacpp.dequantise, or serve the "
                "file with llama-server and give its URL"
            )
        self._byte_level = kind == BYTE_LEVEL
        self._texts = list(file.texts(tokens))
        kinds = file.metadata.get("tokenizer.ggml.token_type")
        self._kinds: Sequence[int] = (
            file.numbers(kinds) if isinstance(kinds, Span) else [NORMAL] * len(self._texts)
        )

    def __len__(self) -> int:
        return len(self._texts)

    def of(self, token: int) -> bytes:
        """What a token adds to the text; nothing for a control token, unless it marks thoughts."""
        if not 0 <= token < len(self._texts):
            return b""
        raw, kind = self._texts[token], self._kinds[token]
        if kind in (UNKNOWN, CONTROL):
            return raw if token in self._shown else b""
        if kind == BYTE and (found := _BYTE.fullmatch(raw)):
            return bytes([int(found[1], 16)])
        if kind == USER_DEFINED:
            return raw
        text = raw.decode("utf-8", "replace")
        if not self._byte_level:
            return text.replace(SPACE, " ").encode()
        return b"".join(bytes([_BYTES[c]]) if c in _BYTES else c.encode() for c in text)

    def spelled(self, token: int) -> bytes:
        """A token's text, that of a control token too."""
        return self._texts[token] if self.is_control(token) else self.of(token)

    @cached_property
    def _shown(self) -> frozenset[int]:
        """The control tokens that belong to a reply: marks of thoughts."""
        control = {text: token for token, text, kind in self.special() if kind == CONTROL}
        return frozenset(control[text] for text in shown_tokens(control))

    def is_control(self, token: int) -> bool:
        """Whether it structures a conversation, and is no text."""
        return 0 <= token < len(self._kinds) and self._kinds[token] == CONTROL

    def ends_within_character(self, token: int) -> bool:
        """Whether more bytes must follow a token's own."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        decoder.decode(self.of(token))
        return bool(decoder.getstate()[0])

    @cached_property
    def plain_token(self) -> int:
        """A token that is whole characters."""
        return next(t for t in range(len(self)) if self.of(t).isascii() and self.of(t).strip())

    def special(self) -> Iterator[tuple[int, str, int]]:
        """The control tokens and those that were added by name: id, spelling and kind of each."""
        for token, kind in enumerate(self._kinds):
            if kind in (CONTROL, USER_DEFINED):
                yield token, self.spelling(token), kind

    def completed(self, text: str, last: int, missing: int) -> tuple[int, ...] | None:
        """The tokens that make up `text`, if it can be told: so many, and then `last`.

        llama.cpp streams only the last token of those that make a character; those before it are
        parts of characters, so there are few that they can be.
        """
        whole, end = text.encode(), self.of(last)
        ways = self._ways(whole[: len(whole) - len(end)], missing) if whole.endswith(end) else []
        return (*ways[0], last) if len(ways) == 1 else None

    @cached_property
    def _fragments(self) -> dict[bytes, int]:
        """Tokens that are no whole characters, by their bytes."""
        found: dict[bytes, int] = {}
        for token in range(len(self)):
            piece = self.of(token)
            try:
                piece.decode()
            except UnicodeDecodeError:
                found[piece] = token
        return found

    def _ways(self, text: bytes, count: int) -> list[tuple[int, ...]]:
        """All ways to spell `text` with so many fragments."""
        if count == 0:
            return [] if text else [()]
        found: list[tuple[int, ...]] = []
        for end in range(1, len(text) + 1):
            token = self._fragments.get(text[:end])
            if token is not None:
                found += [(token, *rest) for rest in self._ways(text[end:], count - 1)]
        return found

    def spelling(self, token: int) -> str:
        """How the vocabulary spells a token."""
        return self._texts[token].decode("utf-8", "replace")


class PieceDetokenizer:
    """Text of tokens as they come; a character that several tokens make comes with the last.

    Args:
        pieces: of the vocabulary.
        prompt: what the tokens follow; a character that it leaves incomplete is completed by them.
    """

    def __init__(self, pieces: Pieces, prompt: Sequence[int]) -> None:
        self._pieces = pieces
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        for token in prompt[-LONGEST_CHARACTER:]:
            self.add(token)

    def add(self, token: int) -> str:
        """The text that `token` completes."""
        return self._decoder.decode(self._pieces.of(token))

    def whole_after(self, tokens: Sequence[int]) -> list[bool]:
        """Adds tokens; whether no character is unfinished after each of them."""
        whole: list[bool] = []
        for token in tokens:
            self.add(token)
            whole.append(not self._decoder.getstate()[0])
        return whole
