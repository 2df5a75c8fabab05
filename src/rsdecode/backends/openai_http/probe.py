"""What a server is and what it can do, found out once by asking it."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any, Literal

from rsdecode.backends.openai_http.address import root_of
from rsdecode.backends.openai_http.asks import Ask, Conversation
from rsdecode.backends.openai_http.dialects import (
    ANY,
    LLAMA_CPP,
    SGLANG,
    VLLM,
    WRAPPED_LLAMA_CPP,
    Dialect,
)
from rsdecode.backends.openai_http.faults import Refusal
from rsdecode.backends.openai_http.reading import is_list, optional, token_ids
from rsdecode.backends.openai_http.remedies import letter_by_letter
from rsdecode.backends.openai_http.transport import Exchange
from rsdecode.core.types import Message

Template = Literal["ours", "ids", "text", "chat", "plain"]
"""Who renders a conversation: we with the model's tokenizer; the server, which gives us token ids
(vLLM) or text (llama.cpp) to continue; the server in its chat endpoint; or nobody (the plain
prompt)."""

TRIAL_TEXT = "1 + 1 ="
TRIAL_CHAT = Conversation((Message("user", TRIAL_TEXT),))
DIALECTS: dict[str, Dialect] = {"vllm": VLLM, "sglang": SGLANG, "llamacpp": LLAMA_CPP}
"""By what a server says of the owner of its models."""
FORBIDDEN = (401, 403)
NO_SUCH_ROUTE = (404, 405, 501)
CHATML = "<|im_start|>"


@dataclass(frozen=True, slots=True)
class Abilities:
    """What was found out about a server.

    Attributes:
        context: tokens of a sequence at most; None where it does not tell.
        takes_ids: whether prompts are sent as token ids.
        note: what users should know of the template that was chosen; "" for nothing.
    """

    dialect: Dialect
    context: int | None
    takes_ids: bool
    template: Template
    note: str = ""

    @property
    def continues(self) -> bool:
        """Whether an answer can be continued, as methods need that write it step by step."""
        return self.template != "chat" or self.dialect.continues_chats


async def probe(exchange: Exchange, name: str, trial: tuple[int, ...] | None) -> Abilities:
    """Find out about the server behind `exchange`.

    Args:
        exchange: the server.
        name: of the served model.
        trial: a prompt in token ids, where the model's tokenizer is known.

    Raises:
        Fault: no usable reply.
        Refusal: the server does not let us in, or does not serve the model.
    """
    card = await _card(exchange, name)
    dialect = DIALECTS.get(str(card.get("owned_by")), ANY)
    context = card.get("max_model_len")
    if dialect is LLAMA_CPP:
        props = await _or_nothing(exchange.get(f"{root_of(exchange.url)}/props"))
        context = optional(props, "default_generation_settings", "n_ctx")
        if context is None:  # an older or a wrapped llama.cpp, with the OpenAI routes alone
            dialect = WRAPPED_LLAMA_CPP
    context = context if isinstance(context, int) and context > 0 else None
    if trial is not None:
        return Abilities(dialect, context, await _takes_ids(exchange, name, dialect, trial), "ours")
    template, note = await _template(exchange, name, dialect)
    return Abilities(dialect, context, template == "ids", template, note)


async def _card(exchange: Exchange, name: str) -> dict[str, Any]:
    """What the server says about the model; nothing from servers that list none.

    Raises:
        Refusal: the server lists its models, and this is none of them.
    """
    listed = optional(await _or_nothing(exchange.get(f"{exchange.url}/models")), "data")
    cards: list[Any] = list(listed) if is_list(listed) else []
    for card in cards:
        if optional(card, "id") == name:
            return card
    names = [str(optional(card, "id")) for card in cards]
    if any(optional(card, "owned_by") in ("vllm", "sglang") for card in cards):
        raise Refusal(404, f"there is no model {name!r} here, only {', '.join(names)}")
    return cards[0] if cards else {}


async def _takes_ids(
    exchange: Exchange, name: str, dialect: Dialect, trial: tuple[int, ...]
) -> bool:
    ask = Ask(trial, max_tokens=1)
    try:
        answered = dialect.read(ask, await exchange.post(*dialect.request(exchange.url, name, ask)))
    except Refusal as refusal:
        if refusal.status in (*FORBIDDEN, *NO_SUCH_ROUTE):
            raise
        return False
    return answered.prompt_tokens == len(trial)


async def _template(exchange: Exchange, name: str, dialect: Dialect) -> tuple[Template, str]:
    """Who renders, and what is to be said about it."""
    if dialect is LLAMA_CPP:
        return await _llama_cpp_template(exchange)
    chat = dialect.request(exchange.url, name, Ask(TRIAL_CHAT, max_tokens=1))
    if dialect is VLLM and await _gives_ids(exchange, name):
        return "ids", ""
    if dialect.continues_chats:
        return ("plain" if await _or_nothing(exchange.post(*chat)) is None else "chat"), ""
    text = dialect.request(exchange.url, name, Ask(TRIAL_TEXT, max_tokens=1))
    try:
        await exchange.post(*text)
    except Refusal as refusal:
        if refusal.status not in NO_SUCH_ROUTE:
            raise
        await exchange.post(*chat)
        return "chat", ""
    return "plain", ""


async def _gives_ids(exchange: Exchange, name: str) -> bool:
    """Whether the server tells the token ids of a conversation."""
    body = {"model": name, "messages": [{"role": "user", "content": TRIAL_TEXT}]}
    reply = await _or_nothing(exchange.post(f"{root_of(exchange.url)}/tokenize", body))
    return token_ids(optional(reply, "tokens")) is not None


async def _llama_cpp_template(exchange: Exchange) -> tuple[Template, str]:
    """The server's own, unless that is the ChatML which it takes for models without a template.

    A model whose vocabulary has none of ChatML's control tokens would read them letter by letter.
    """
    root = root_of(exchange.url)
    body = {"messages": [{"role": "user", "content": TRIAL_TEXT}]}
    reply = await _or_nothing(exchange.post(f"{root}/apply-template", body))
    rendered = optional(reply, "prompt")
    if not isinstance(rendered, str):
        return "plain", ""
    if CHATML in rendered:
        asked = {"content": CHATML, "add_special": False, "parse_special": True}
        found = await _or_nothing(exchange.post(f"{root}/tokenize", asked))
        ids = token_ids(optional(found, "tokens"))
        if ids is not None and len(ids) != 1:
            return "plain", letter_by_letter(CHATML, len(ids))
    return "text", ""


async def _or_nothing(asked: Awaitable[Any]) -> Any:
    """The reply, or None where the server has no such thing to offer."""
    try:
        return await asked
    except Refusal as refusal:
        if refusal.status in FORBIDDEN:
            raise
        return None
