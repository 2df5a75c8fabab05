"""Which rows take part in a pass: none waits for ever, whatever else is asked."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

from rsdecode.backends.transformers.engine import Engine
from rsdecode.backends.transformers.jobs import Decode, Prefill
from rsdecode.backends.transformers.network import CausalNetwork
from rsdecode.core.requests import Failed
from tests.backends.transformers import tiny


class Recorded(CausalNetwork):
    """Notes the slots of each forward pass, and how many tokens they computed at most."""

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.passes: list[tuple[frozenset[int], int]] = []

    def forward(self, ids: Any, batch: Any, cache: Any, *, last_only: bool) -> Any:
        self.passes.append((frozenset(batch.slots.tolist()), ids.shape[1]))
        return super().forward(ids, batch, cache, last_only=last_only)

    def longest_pause(self, slot: int) -> int:
        """Passes between two passes of a slot, from its first to its last, at most."""
        places = [i for i, (slots, _) in enumerate(self.passes) if slot in slots]
        return max(b - a - 1 for a, b in pairwise(places))


async def test_prompts_with_many_marks_do_not_hold_up_an_answer() -> None:
    """A stream of long prompts of many lengths beside one answer; each takes several passes."""
    model = tiny.causal_model()
    network = Recorded(model)
    engine = Engine(network, tokenizer=tiny.tokenizer(), slots=8, max_context=2100)
    writing = asyncio.create_task(engine.decode([Decode("w", (5, 6, 7), 60)]))
    while not network.passes:
        await asyncio.sleep(0.001)
    lengths = [1990, 2000, 2010, 1200, 700, 600, 1500, 1800, 40]
    prompts = [tuple(1 + (i * 7 + j) % 250 for j in range(n)) for i, n in enumerate(lengths)]
    wanted = [(0, n // 2, n - 1) if i % 2 else (n - 1,) for i, n in enumerate(lengths)]
    reading = engine.prefill(
        [Prefill(f"r{i}", p, m) for i, (p, m) in enumerate(zip(prompts, wanted, strict=True))]
    )
    replies = [*await reading, *await writing]
    engine.close()
    assert not any(isinstance(reply, Failed) for reply in replies)
    [slot] = network.passes[0][0]
    chunks = sum(width > 100 for _, width in network.passes)
    assert chunks >= 8, "the prompts were not read in chunks"
    assert network.longest_pause(slot) <= 2


async def test_longer_prompts_do_not_hold_up_a_short_one_for_ever() -> None:
    network = Recorded(tiny.causal_model())
    engine = Engine(network, tokenizer=tiny.tokenizer(), slots=7, max_context=600)
    first: list[str] = []

    async def read(name: str, length: int, first_id: int) -> None:
        ids = (first_id, *(2 + (first_id * 3 + j) % 200 for j in range(length - 1)))
        await engine.prefill([Prefill(name, ids, (length - 1,))])
        first.append(name)

    async def reader(which: int) -> None:
        for i in range(20):
            await read(f"long {which} {i}", 500, 1 + 6 * i + which)

    long = [asyncio.create_task(reader(which)) for which in range(6)]
    await asyncio.sleep(0)
    short = asyncio.create_task(read("short", 60, 200))
    await asyncio.gather(short, *long)
    engine.close()
    assert first.index("short") <= 8 * 4 + 4
