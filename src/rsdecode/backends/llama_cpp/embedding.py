"""The last hidden states of tokens, by llama.cpp's embeddings: what a reward head reads.

They come after the final norm and are not normalised further, as a head in transformers gets them.
llama.cpp reads the whole sequence for each request: its cache holds no hidden states.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from rsdecode.backends.llama_cpp.connection import Connection
from rsdecode.backends.openai_http.address import root_of
from rsdecode.backends.openai_http.faults import Fault
from rsdecode.backends.openai_http.reading import entry, is_list, numbers
from rsdecode.backends.openai_http.transport import Exchange
from rsdecode.core.cost import attended_tokens
from rsdecode.core.types import Usage


async def hidden_states(
    connection: Connection, session: str, ids: Sequence[int], places: Sequence[int]
) -> tuple[list[list[float]], Usage]:
    """The hidden states [places, hidden] of the tokens at `places`, and what reading `ids` cost."""

    async def attempt(exchange: Exchange) -> tuple[list[list[float]], Usage]:
        started = time.perf_counter()
        body = {"input": list(ids), "embd_normalize": -1, "id_slot": slot.index}
        reply = await exchange.post(f"{root_of(exchange.url)}/embeddings", body)
        rows = entry(reply, 0, "embedding")
        if not is_list(rows) or len(rows) != len(ids):
            raise Fault(f"the reply has no hidden state for each token: {str(reply)[:200]}")
        usage = Usage(
            prefill_tokens=len(ids),
            calls=1,
            seconds=time.perf_counter() - started,
            attended_tokens=attended_tokens(0, len(ids)),
        )
        return [numbers(rows[place]) for place in places], usage

    async with connection.places.take(session, ids) as slot:
        slot.ids = []
        return await connection.run(session, attempt)
