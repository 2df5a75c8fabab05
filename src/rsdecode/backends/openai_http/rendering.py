"""From contexts to what a server is sent: token ids, text, or a conversation."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from rsdecode.backends.openai_http.address import root_of
from rsdecode.backends.openai_http.asks import Conversation, Prompt
from rsdecode.backends.openai_http.faults import Fault
from rsdecode.backends.openai_http.probe import TRIAL_TEXT, Abilities
from rsdecode.backends.openai_http.reading import entry, token_ids
from rsdecode.backends.openai_http.tokenizing import Ids, tokenize
from rsdecode.backends.openai_http.transport import Exchange
from rsdecode.core.errors import ConfigError
from rsdecode.core.requests import Begin, Begun
from rsdecode.core.types import Context, LastMessage, Message, RawPrompt
from rsdecode.text.chat_template import DATE, effort_arguments
from rsdecode.text.codec import Codec
from rsdecode.text.prompt import Prompts, plain_text
from rsdecode.text.step_text import TAIL

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Messages = tuple[Message, ...]
Key = TypeVar("Key")
Value = TypeVar("Value")
REMEMBERED = 4096
"""Conversations, or steps, that the server rendered for us."""


class Renderer:
    """Renders for one served model.

    Args:
        tokenizer: of the model; None where it is not known.
        plain_prompt: with `{question}`, for models without a chat template.
        name: what the servers call the model.
        template: arguments of the chat template, whoever renders.

    Raises:
        ConfigError: `template` sets the date, which no server takes.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase | None,
        plain_prompt: str,
        name: str,
        template: Mapping[str, object],
    ) -> None:
        self._prompts = None if tokenizer is None else Prompts(tokenizer, plain_prompt, template)
        if tokenizer is None and DATE in template:
            raise ConfigError(
                f"prompt.template sets {DATE}, but the server of {name!r} tells its chat template "
                "the date itself: name the model's tokenizer (draft_tokenizer, target_tokenizer), "
                "or leave it out"
            )
        self._tokenizer = tokenizer
        self._plain_prompt = plain_prompt
        self._name = name
        self._template = {name: value for name, value in template.items() if name != DATE}
        self._rendered = Remembered[Messages, str]()
        self._ids = Remembered[Messages, tuple[int, ...]]()

    @property
    def vocabulary(self) -> str | None:
        """Fingerprint of the tokenizer."""
        return None if self._prompts is None else self._prompts.vocabulary

    @property
    def turn_end(self) -> int | None:
        """The token that ends a reply in the chat template; None where it is not known."""
        return None if self._prompts is None else self._prompts.turn_end

    @property
    def codec(self) -> Codec | None:
        """The tokenizer, where it is known; how long the server's context is, is not."""
        if self._tokenizer is None or self._prompts is None:
            return None
        return Codec(self._tokenizer, self._prompts, None)

    @property
    def notes(self) -> tuple[str, ...]:
        """What one would not expect of prompts that are rendered here."""
        return () if self._prompts is None else self._prompts.notes

    @property
    def trial(self) -> tuple[int, ...] | None:
        """A short prompt, to see whether a server takes token ids."""
        return None if self._prompts is None else self._prompts.text_ids(TRIAL_TEXT)

    def tokenize(self, text: str) -> tuple[int, ...]:
        """The ids of a text; none where the tokenizer is not known."""
        return () if self._prompts is None else self._prompts.text_ids(text)

    async def render(self, exchange: Exchange, abilities: Abilities, context: Context) -> Prompt:
        """A question and the answer so far.

        Raises:
            RsdError: the text cannot be rendered.
        """
        if self._prompts is not None and abilities.takes_ids:
            return self._prompts.context_ids(context)
        raw = isinstance(context.messages[0], RawPrompt) and abilities.template != "chat"
        if abilities.template == "ids" and not raw:
            return await self._ids_there(exchange, context)
        answer = _valid("".join(segment.text for segment in context.answer))
        if raw:
            return _valid(context.messages[0].content) + answer
        return await self._with_reply(exchange, abilities, context.messages, answer)

    async def begun(self, exchange: Exchange, abilities: Abilities, request: Begin) -> Begun:
        """How a reply begins: by the tokenizer, or by the prompt that the server tells."""
        if self._prompts is not None:
            return self._prompts.begun(request.messages, request.marks)
        match abilities.template:
            case "ids":
                ids = await self._ids_there(exchange, Context(request.messages))
                body = {"model": self._name, "tokens": list(ids[-TAIL:])}
                reply = await exchange.post(f"{root_of(exchange.url)}/detokenize", body)
                prompt = str(entry(reply, "prompt"))
            case "text":
                prompt = await self._rendered_there(exchange, request.messages)
            case "chat":
                return Begun()
            case _:
                prompt = ""
        return Begun(request.marks.opened_by(prompt) or "")

    async def render_bare(
        self, exchange: Exchange, abilities: Abilities, messages: Messages
    ) -> Prompt:
        """A conversation; a model without a chat template reads the messages as they are."""
        if self._prompts is not None and abilities.takes_ids:
            return self._prompts.bare_ids(messages)
        if abilities.template == "plain" or self._lacks_template:
            return _valid(plain_text(messages, "{question}"))
        if abilities.template == "ids":
            return await self._ids_there(exchange, Context(messages))
        return await self._with_reply(exchange, abilities, messages, "")

    @property
    def _lacks_template(self) -> bool:
        return self._prompts is not None and not self._prompts.has_template

    async def _with_reply(
        self, exchange: Exchange, abilities: Abilities, messages: Messages, reply: str
    ) -> str | Conversation:
        if self._prompts is not None:
            return self._prompts.prompt_text(messages) + reply
        if not _opens(messages) and abilities.template in ("chat", "text"):
            raise ConfigError(
                f"the server of {self._name!r} opens a reply to every conversation, which this "
                "model must not be asked with: name its tokenizer (--reward-tokenizer), so that "
                "prompts are rendered here"
            )
        match abilities.template:
            case "chat":
                return Conversation(messages, reply, self._arguments(messages))
            case "text":
                return await self._rendered_there(exchange, messages) + reply
            case _:
                return _valid(plain_text(messages, self._plain_prompt)) + reply

    async def _rendered_there(self, exchange: Exchange, messages: Messages) -> str:
        async def ask() -> str:
            url = f"{root_of(exchange.url)}/apply-template"
            reply = await exchange.post(url, self._chat(messages))
            return str(entry(reply, "prompt"))

        return await self._rendered.get(messages, ask)

    async def ids_there(self, exchange: Exchange, messages: Messages, *, cpp: bool) -> Ids:
        """The ids of a conversation, by the server's own template and tokenizer."""
        if not cpp:
            return await self._ids_there(exchange, Context(messages))
        text = await self._rendered_there(exchange, messages)
        return await tokenize(exchange, self._name, text, special=True, cpp=True)

    async def _ids_there(self, exchange: Exchange, context: Context) -> tuple[int, ...]:
        """The ids of a conversation, then those of the answer so far.

        The answer is one text: some tokenizers put a space before each that they are given.
        """
        body = {"model": self._name, **self._chat(context.messages)}
        if not _opens(context.messages):
            body["add_generation_prompt"] = False
        ids = await self._ids.get(context.messages, lambda: _tokens(exchange, body))
        answer = _valid("".join(segment.text for segment in context.answer))
        if not answer:
            return ids
        written = {"model": self._name, "prompt": answer, "add_special_tokens": False}
        return (*ids, *await _tokens(exchange, written))

    def _chat(self, messages: Messages) -> dict[str, Any]:
        listed = [{"role": m.role, "content": _valid(m.content)} for m in messages]
        arguments = self._arguments(messages)
        extra = {"chat_template_kwargs": arguments} if arguments else {}
        return {"messages": listed, **extra}

    def _arguments(self, messages: Messages) -> dict[str, object]:
        """Of the chat template, for a conversation."""
        last = messages[-1]
        effort = last.effort if isinstance(last, LastMessage) else None
        return self._template | effort_arguments(effort)


class Remembered(Generic[Key, Value]):
    """Replies of a server that are the same each time; the oldest are forgotten."""

    def __init__(self) -> None:
        self._known: dict[Key, Value] = {}

    async def get(self, key: Key, ask: Callable[[], Awaitable[Value]]) -> Value:
        """The reply, asked for where it is not known."""
        if key not in self._known:
            value = await ask()
            while len(self._known) >= REMEMBERED:
                del self._known[next(iter(self._known))]
            self._known[key] = value
            return value
        return self._known[key]


async def _tokens(exchange: Exchange, body: dict[str, Any]) -> tuple[int, ...]:
    reply = await exchange.post(f"{root_of(exchange.url)}/tokenize", body)
    ids = token_ids(entry(reply, "tokens"))
    if ids is None:
        raise Fault(f"the reply has no token ids: {str(reply)[:200]}")
    return ids


def _opens(messages: Messages) -> bool:
    """Whether a template opens the reply to a conversation."""
    last = messages[-1]
    return not isinstance(last, LastMessage) or last.opens


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
