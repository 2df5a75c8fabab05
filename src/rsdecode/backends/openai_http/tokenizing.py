"""Token ids by a server's own tokenizer, for models whose tokenizer is not known here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rsdecode.backends.openai_http.address import root_of
from rsdecode.backends.openai_http.faults import Fault
from rsdecode.backends.openai_http.probe import Abilities
from rsdecode.backends.openai_http.reading import entry, token_ids
from rsdecode.backends.openai_http.remedies import does_not_tokenize
from rsdecode.backends.openai_http.transport import Exchange
from rsdecode.core.errors import RequestError

Ids = tuple[int, ...]
KNOWN = ("vllm", "sglang", "llama.cpp")


def check(exchange: Exchange, abilities: Abilities) -> None:
    """See that a server has routes for tokens.

    Raises:
        RequestError: it is of a kind that has none.
    """
    if abilities.dialect.name not in KNOWN:
        raise RequestError(does_not_tokenize(exchange.url, abilities.dialect.name))


async def tokenize(exchange: Exchange, name: str, text: str, *, special: bool, cpp: bool) -> Ids:
    """The ids of a text; with `special`, after the tokens that the tokenizer puts before.

    Args:
        exchange: with the server.
        name: of the model there.
        text: any.
        special: see above.
        cpp: whether the server is llama.cpp.
    """
    ours: dict[str, Any] = {"content": text, "add_special": special, "parse_special": True}
    theirs = {"model": name, "prompt": text, "add_special_tokens": special}
    reply = await exchange.post(f"{root_of(exchange.url)}/tokenize", ours if cpp else theirs)
    return _ids(reply)


async def detokenize(exchange: Exchange, name: str, ids: Sequence[int], *, cpp: bool) -> str:
    """The text of ids."""
    body = {"model": name, "tokens": list(ids)}
    reply = await exchange.post(f"{root_of(exchange.url)}/detokenize", body)
    found = entry(reply, "content" if cpp else "prompt")
    if not isinstance(found, str):
        raise Fault(f"the reply has no text: {str(reply)[:200]}")
    return found


def _ids(reply: object) -> Ids:
    found = token_ids(entry(reply, "tokens"))
    if found is None:
        raise Fault(f"the reply has no token ids: {str(reply)[:200]}")
    return found
