"""From contexts to what a server is sent: token ids, text, or a conversation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rsdecode.backends.openai_http.address import root_of
from rsdecode.backends.openai_http.asks import Conversation, Prompt
from rsdecode.backends.openai_http.probe import TRIAL_TEXT, Abilities
from rsdecode.backends.openai_http.reading import entry
from rsdecode.backends.openai_http.transport import Exchange
from rsdecode.core.errors import ConfigError
from rsdecode.core.types import Context, Message
from rsdecode.text.prompt import Prompts, plain_text

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Messages = tuple[Message, ...]
REMEMBERED = 4096
"""Conversations that the server rendered for us."""


class Renderer:
    """Renders for one served model.

    Args:
        tokenizer: of the model; None where it is not known.
        plain_prompt: with `{question}`, for models without a chat template.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase | None, plain_prompt: str) -> None:
        self._prompts = None if tokenizer is None else Prompts(tokenizer, plain_prompt)
        self._plain_prompt = plain_prompt
        self._rendered: dict[Messages, str] = {}

    @property
    def vocabulary(self) -> str | None:
        """Fingerprint of the tokenizer."""
        return None if self._prompts is None else self._prompts.vocabulary

    @property
    def trial(self) -> tuple[int, ...] | None:
        """A short prompt, to see whether a server takes token ids."""
        return None if self._prompts is None else self._prompts.text_ids(TRIAL_TEXT)

    async def render(self, exchange: Exchange, abilities: Abilities, context: Context) -> Prompt:
        """A question and the answer so far.

        Raises:
            RsdError: the text cannot be rendered.
        """
        if self._prompts is not None and abilities.takes_ids:
            return self._prompts.context_ids(context)
        answer = _valid("".join(segment.text for segment in context.answer))
        return await self._with_reply(exchange, abilities, context.messages, answer)

    async def render_bare(
        self, exchange: Exchange, abilities: Abilities, messages: Messages
    ) -> Prompt:
        """A conversation; a model without a chat template reads the messages as they are."""
        if self._prompts is not None and abilities.takes_ids:
            return self._prompts.bare_ids(messages)
        if abilities.template == "plain" or self._lacks_template:
            return _valid(plain_text(messages, "{question}"))
        return await self._with_reply(exchange, abilities, messages, "")

    @property
    def _lacks_template(self) -> bool:
        return self._prompts is not None and not self._prompts.has_template

    async def _with_reply(
        self, exchange: Exchange, abilities: Abilities, messages: Messages, reply: str
    ) -> str | Conversation:
        if self._prompts is not None:
            return self._prompts.prompt_text(messages) + reply
        match abilities.template:
            case "chat":
                return Conversation(messages, reply)
            case "theirs":
                return await self._rendered_there(exchange, messages) + reply
            case _:
                return _valid(plain_text(messages, self._plain_prompt)) + reply

    async def _rendered_there(self, exchange: Exchange, messages: Messages) -> str:
        if messages not in self._rendered:
            body = {"messages": [{"role": m.role, "content": m.content} for m in messages]}
            reply = await exchange.post(f"{root_of(exchange.url)}/apply-template", body)
            if len(self._rendered) >= REMEMBERED:
                del self._rendered[next(iter(self._rendered))]
            self._rendered[messages] = str(entry(reply, "prompt"))
        return self._rendered[messages]


def _valid(text: str) -> str:
    """Lone surrogates, which no server takes, become question marks."""
    return text.encode(errors="replace").decode()


def tokenizer_of(place: str) -> PreTrainedTokenizerBase:
    """The tokenizer of a folder or a hub id.

    Raises:
        ModelLoadError: there is none to be had.
        ConfigError: transformers is not installed.
    """
    try:
        from rsdecode.text.pretrained import load_tokenizer

        return load_tokenizer(place)
    except ImportError as error:
        raise ConfigError(
            f"the tokenizer {place!r} needs {error.name}, which is not installed: "
            "pip install 'rsdecode[local]'"
        ) from error
