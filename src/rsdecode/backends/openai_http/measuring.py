"""Log-probabilities of a given text, and what was likeliest in the place of each token, by vLLM."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, cast

from rsdecode.backends.openai_http.asks import Ask
from rsdecode.backends.openai_http.faults import Fault
from rsdecode.backends.openai_http.probe import Abilities
from rsdecode.backends.openai_http.reading import entry, is_list
from rsdecode.backends.openai_http.transport import Exchange
from rsdecode.core.protocols import Measure, Measured

Likeliest = tuple[tuple[int, float], ...]
NAMED = "token_id:"
"""How vLLM spells a token where it is asked for its id (`return_tokens_as_token_ids`)."""


async def measure(
    request: Measure, exchange: Exchange, abilities: Abilities, name: str, salt: str | None
) -> Measured:
    """What a vLLM server tells of a text; it writes one token more, whose place is told too.

    Raises:
        Fault: the reply is not of the right form.
    """
    started, top = time.perf_counter(), max(request.top, 1)
    ask = Ask(request.ids, 1, salt=salt, assess=True, told=top)
    url, body = abilities.dialect.request(exchange.url, name, ask)
    body |= {"prompt_logprobs": top, "return_tokens_as_token_ids": True}
    reply = await exchange.post(url, body)
    plain = Ask(request.ids, 1)
    usage = abilities.dialect.read(plain, reply).usage(time.perf_counter() - started)
    listed = entry(reply, "choices", 0, "prompt_logprobs")
    if not is_list(listed) or len(listed) != len(request.ids):
        raise Fault(f"the reply has no prompt_logprobs for the prompt: {str(listed)[:200]}")
    logprobs: list[float | None] = [None]
    places: list[Likeliest] = []
    for token, told in zip(request.ids[1:], listed[1:], strict=True):
        logprobs.append(float(entry(told, str(token), "logprob")))
        places.append(_likeliest(cast("Mapping[str, Any]", told), top))
    places.append(_following(entry(reply, "choices", 0, "logprobs", "top_logprobs", 0), top))
    return Measured(tuple(logprobs), tuple(places), usage)


def _likeliest(told: Mapping[str, Any], top: int) -> Likeliest:
    """The first by rank, of a table that may hold the prompt's own token beside them."""
    ranked = sorted(told.items(), key=lambda item: entry(item[1], "rank"))[:top]
    return tuple((int(token), float(entry(of, "logprob"))) for token, of in ranked)


def _following(told: object, top: int) -> Likeliest:
    """What would follow the text."""
    table = cast("Mapping[str, float]", told)
    try:
        found = [(int(name.removeprefix(NAMED)), float(p)) for name, p in table.items()]
    except (AttributeError, ValueError):
        raise Fault(f"the reply does not name tokens by their ids: {str(told)[:200]}") from None
    return tuple(sorted(found, key=lambda item: -item[1])[:top])
