"""A model's tokenizer as servers offer it: conversations and texts to ids, ids to text."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from rsdecode.core.types import Message
from rsdecode.text.prompt import Prompts
from rsdecode.text.vocabulary import Ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Codec:
    """Token ids of what a model reads, and their text.

    Args:
        tokenizer: of the model.
        prompts: how it renders conversations.
        max_context: tokens of prompt and answer together; None where it is not known.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, prompts: Prompts, max_context: int | None
    ) -> None:
        self._tokenizer: Any = tokenizer
        self._prompts = prompts
        self.max_context = max_context
        self._pieces: dict[int, str] = {}

    @property
    def vocabulary(self) -> str:
        """Fingerprint of the tokenizer."""
        return self._prompts.vocabulary

    @property
    def size(self) -> int:
        """Number of ids."""
        return len(self._tokenizer)

    @property
    def bos(self) -> str | None:
        """The text of the token that begins sequences, if there is one."""
        return self._tokenizer.bos_token

    @property
    def eos(self) -> str | None:
        """The text of the token that ends sequences, if there is one."""
        return self._tokenizer.eos_token

    @property
    def pad(self) -> str | None:
        """The text of the padding token, if there is one."""
        return self._tokenizer.pad_token

    @property
    def eos_id(self) -> int | None:
        """The id of the token that ends sequences."""
        return self._tokenizer.eos_token_id

    @property
    def name(self) -> str:
        """The tokenizer's class."""
        return type(self._tokenizer).__name__

    @property
    def chat_template(self) -> str | None:
        """Its source."""
        return self._tokenizer.get_chat_template() if self._tokenizer.chat_template else None

    def chat_ids(self, messages: Sequence[Message]) -> Ids:
        """A conversation as the model reads it, up to where its reply begins."""
        return self._prompts.prompt_ids(tuple(messages))

    def chat_text(self, messages: Sequence[Message]) -> str:
        """The same as text."""
        return self._prompts.prompt_text(tuple(messages))

    def ids(self, text: str, *, special: bool = True) -> Ids:
        """The ids of a text; with `special`, after the tokens that the tokenizer puts before."""
        encoded: list[int] = self._tokenizer.encode(text, add_special_tokens=special, verbose=False)
        return tuple(encoded)

    def text(self, ids: Sequence[int]) -> str:
        """The text of ids, special tokens included.

        Raises:
            ValueError: an id is out of the vocabulary.
        """
        self.check(ids)
        return self._tokenizer.decode(list(ids), clean_up_tokenization_spaces=False)

    def spellings(self, ids: Sequence[int]) -> list[str]:
        """The text of each id by itself."""
        return [self.text([token]) for token in ids]

    def piece(self, token: int) -> str:
        """What a token adds to a text when it follows others: with the space that it begins with.

        A part of a character is told as U+FFFD.
        """
        if token not in self._pieces:
            before = self._anchor
            both = self._tokenizer.decode([*before, token], clean_up_tokenization_spaces=False)
            alone = self._tokenizer.decode(list(before), clean_up_tokenization_spaces=False)
            self._pieces[token] = both[len(alone) :]
        return self._pieces[token]

    @cached_property
    def _anchor(self) -> Ids:
        return self.ids("a", special=False)

    def check(self, ids: Sequence[int]) -> None:
        """See that all ids are in the vocabulary.

        Raises:
            ValueError: one is not.
        """
        wrong = next((token for token in ids if not 0 <= token < self.size), None)
        if wrong is not None:
            raise ValueError(f"token id {wrong} is not in the vocabulary, 0 to {self.size - 1}")


@runtime_checkable
class HasCodec(Protocol):
    """A language model whose tokenizer is perhaps known here."""

    @property
    def codec(self) -> Codec | None:
        """The tokenizer; None where only a server knows it."""
        ...
