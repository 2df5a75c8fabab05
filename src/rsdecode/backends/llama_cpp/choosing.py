"""Which of a few tokens comes first in a reply, and how likely each is: what a judge needs."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rsdecode.backends.llama_cpp.connection import Connection
from rsdecode.backends.openai_http.asks import Ask
from rsdecode.backends.openai_http.dialects import LLAMA_CPP
from rsdecode.backends.openai_http.faults import Fault
from rsdecode.backends.openai_http.reading import entry, is_list
from rsdecode.backends.openai_http.transport import Exchange
from rsdecode.core.errors import RequestError
from rsdecode.core.protocols import Choose, Chosen
from rsdecode.core.types import Usage

BIAS = 100.0
"""Puts chosen tokens above all others, whatever their logits are, and keeps their differences."""


async def choose(connection: Connection, request: Choose) -> Chosen:
    """Serve a request.

    Raises:
        RequestError: one of the choices is not a single token.
        PromptTooLong: the messages do not fit the context.
    """
    prompt = await connection.rendered(
        request.session, lambda tokens: connection.words.bare_ids(tokens, request.messages)
    )
    connection.check_length(prompt)
    columns = [await _column(connection, request.session, text) for text in request.choices]
    chances, usage = await chances_of(connection, request.session, prompt, columns)
    return Chosen(chances, usage)


async def chances_of(
    connection: Connection, session: str, prompt: tuple[int, ...], columns: Sequence[int]
) -> tuple[tuple[float, ...], Usage]:
    """The probabilities of the tokens `columns` after `prompt`, among themselves."""

    async def attempt(exchange: Exchange) -> tuple[tuple[float, ...], Usage]:
        started = time.perf_counter()
        ask = Ask(prompt, max_tokens=1, choices=len(columns))
        url, body = LLAMA_CPP.request(exchange.url, "", ask)
        body |= connection.in_slot(slot) | {
            "temperature": 1.0,
            "samplers": ["temperature"],
            "post_sampling_probs": True,
            "logit_bias": [[column, BIAS] for column in columns],
        }
        reply = await exchange.post(url, body)
        usage = LLAMA_CPP.read(Ask(prompt, 1), reply).usage(time.perf_counter() - started)
        return _probabilities(reply, columns), usage

    async with connection.places.take(session, prompt) as slot:
        found = await connection.run(session, attempt)
        slot.ids = list(prompt)
    return found


async def _column(connection: Connection, session: str, text: str) -> int:
    ids = await connection.rendered(session, lambda tokens: connection.words.text_ids(tokens, text))
    if len(ids) != 1:
        raise RequestError(
            f"{text!r} is {len(ids)} tokens for {connection.file.path}, but a choice must be one: "
            "use another model as the judge"
        )
    return ids[0]


def _probabilities(reply: object, columns: Sequence[int]) -> tuple[float, ...]:
    listed = entry(reply, "completion_probabilities", 0, "top_probs")
    if not is_list(listed):
        raise Fault(f"the reply has no list of candidates: {str(reply)[:200]}")
    found = {int(entry(item, "id")): float(entry(item, "prob")) for item in listed}
    chances = [found.get(column, 0.0) for column in columns]
    total = sum(chances)
    if not total > 0.0:
        raise Fault(f"none of the tokens {list(columns)} is among the candidates")
    return tuple(chance / total for chance in chances)
