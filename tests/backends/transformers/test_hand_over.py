"""Between event loops and the engine's thread: cancelling, closing, and who waits for whom."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from rsdecode.backends.transformers.engine import Engine
from rsdecode.backends.transformers.jobs import Decode, Decoded, Prefill, Prefilled
from rsdecode.backends.transformers.load import LoadOptions
from rsdecode.backends.transformers.model import LocalModel
from rsdecode.backends.transformers.network import CausalNetwork
from rsdecode.core.requests import (
    Failed,
    Generate,
    Generated,
    Propose,
    Proposed,
    Sampling,
    Verified,
    Verify,
)
from rsdecode.core.segment import PARAGRAPH
from rsdecode.core.types import Context, Message, Problem, Role
from tests.backends.transformers import tiny


class Counted(CausalNetwork):
    """Counts forward passes; each takes `seconds` at least."""

    seconds = 0.0

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.passes = 0

    def forward(self, ids: Any, batch: Any, cache: Any, *, last_only: bool) -> Any:
        self.passes += 1
        time.sleep(self.seconds)
        return super().forward(ids, batch, cache, last_only=last_only)


def make_engine(**options: Any) -> tuple[Engine, Counted]:
    network = Counted(tiny.causal_model())
    given: dict[str, Any] = {"slots": 4, "max_context": 400, "eos": frozenset(), **options}
    return Engine(network, tokenizer=tiny.tokenizer(), **given), network


def requests(count: int, tokens: int = 40) -> list[Generate]:
    return [
        Generate(
            Role.DRAFT,
            Context(Problem.ask("Why? " * (1 + i % 5)).messages),
            tokens,
            PARAGRAPH,
            Sampling(1.0),
            seed=i,
            session=str(i),
        )
        for i in range(count)
    ]


async def test_a_cancelled_request_leaves_before_the_next_step_and_its_prefix_stays() -> None:
    engine, network = make_engine(slots=1, max_context=4000)
    network.seconds = 0.02
    ids = tuple(range(1, 40))
    shown: list[str] = []
    task = asyncio.create_task(
        engine.decode([Decode("a", ids, 10**9)], lambda _, text: shown.append(text))
    )
    while len(shown) < 5:
        await asyncio.sleep(0.005)
    task.cancel()
    passes = network.passes
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0.1)
    assert network.passes <= passes + 1
    written = tiny.greedy(tiny.causal_model(), ids, 5)
    longer = (*ids, *written[:3])
    [reply] = await engine.decode([Decode("a", (*longer, 9), 6)])
    engine.close()
    assert isinstance(reply, Decoded)
    assert reply.usage.cached_tokens == len(longer)
    assert list(reply.ids) == tiny.greedy(tiny.causal_model(), (*longer, 9), 6)


async def test_cancelled_before_it_had_a_slot() -> None:
    engine, network = make_engine(slots=1)
    network.seconds = 0.005
    first = asyncio.create_task(engine.decode([Decode("a", (1, 2), 30)]))
    await asyncio.sleep(0)
    waiting = [asyncio.create_task(engine.decode([Decode("b", (3, i), 9)])) for i in range(50)]
    await asyncio.sleep(0.02)
    for task in waiting[1:]:
        task.cancel()
    [reply] = await waiting[0]
    await first
    assert isinstance(reply, Decoded)
    await asyncio.sleep(0.02)
    assert network.passes <= 30 + 9 + 1
    assert engine.load == 0
    engine.close()


def in_threads(count: int, work: Any) -> list[Any]:
    """What coroutines return that run in threads, each with an event loop of its own."""
    results: list[Any] = [None] * count
    barrier = threading.Barrier(count)

    def run(place: int) -> None:
        barrier.wait()
        results[place] = asyncio.run(work(place))

    threads = [threading.Thread(target=run, args=(place,)) for place in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "a thread hangs"
    return results


def test_three_threads_with_three_event_loops_share_a_model() -> None:
    model = LocalModel(tiny.causal_model(), tiny.tokenizer(), LoadOptions(slots=5))
    asked = requests(90, 12)

    async def work(place: int) -> list[Any]:
        return await model.generate(asked[place::3])

    results = in_threads(3, work)
    alone = asyncio.run(model.generate(asked))
    model.close()
    for place, replies in enumerate(results):
        assert [reply.segment for reply in replies] == [
            reply.segment for reply in alone[place::3] if isinstance(reply, Generated)
        ]


def test_closing_while_others_submit_leaves_nobody_waiting() -> None:
    for _ in range(15):
        engine, _ = make_engine(slots=2)

        async def work(place: int, engine: Engine = engine) -> int:
            if place == 2:
                await asyncio.sleep(0.01)
                engine.close()
                return 0
            for i in range(10**6):
                [reply] = await engine.decode([Decode(f"{place}", (1, 1 + i % 9), 2)])
                if isinstance(reply, Failed):
                    return i
            raise AssertionError("it never closed")

        in_threads(3, work)


async def test_an_idle_engine_uses_no_cpu() -> None:
    engine, network = make_engine()
    await engine.decode([Decode("a", (1, 2), 5)])
    engine.end("a")
    await asyncio.sleep(0.05)
    passes, cpu = network.passes, time.process_time()
    await asyncio.sleep(1.0)
    assert time.process_time() - cpu < 0.05
    assert network.passes == passes
    engine.close()


async def test_ending_and_clearing_take_effect_in_their_order() -> None:
    engine, _ = make_engine(slots=2)
    ids = tuple(range(1, 60))

    async def cached(session: str) -> int:
        [reply] = await engine.prefill([Prefill(session, ids, (len(ids) - 1,))])
        assert isinstance(reply, Prefilled)
        return reply.usage.cached_tokens

    assert await cached("a") == 0
    assert await cached("a") == len(ids) - 1
    engine.clear()
    assert await cached("a") == 0
    assert await cached("b") == len(ids) - 1
    engine.end("a")
    engine.end("b")
    engine.clear()
    assert await cached("c") == 0
    engine.close()


class Ticking:
    """Measures how long the event loop was not there for others."""

    def __init__(self) -> None:
        self.longest = 0.0

    async def __aenter__(self) -> Ticking:
        self._task = asyncio.create_task(self._tick())
        await asyncio.sleep(0.01)
        self.longest = 0.0
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()

    async def _tick(self) -> None:
        last = time.thread_time()
        while True:
            await asyncio.sleep(0.001)
            now = time.thread_time()  # what the loop computes, not what the machine makes it wait
            self.longest, last = max(self.longest, now - last), now


async def test_verdicts_keep_no_event_loop_waiting() -> None:
    tokenizer, load = tiny.tokenizer(), LoadOptions(slots=16, max_context=300)
    draft = LocalModel(tiny.causal_model(seed=1), tokenizer, load)
    target = LocalModel(tiny.causal_model(), tokenizer, load)
    contexts = [Context(Problem.ask(f"Why {i}?").messages) for i in range(48)]
    sampling = Sampling(0.8, top_p=0.9)
    proposals = await draft.propose(
        [Propose(c, 24, sampling, session=str(i)) for i, c in enumerate(contexts)]
    )
    verify = [
        Verify(context, proposal, sampling, seed=i, session=str(i))
        for i, (context, proposal) in enumerate(zip(contexts, proposals, strict=True))
        if isinstance(proposal, Proposed)
    ]
    async with Ticking() as ticking:
        verdicts = await target.verify(verify)
    draft.close()
    target.close()
    assert len(verdicts) == 48
    assert all(isinstance(verdict, Verified) for verdict in verdicts)
    assert ticking.longest < 0.03


async def test_long_prompts_keep_no_event_loop_waiting() -> None:
    model = LocalModel(
        tiny.causal_model(),
        tiny.tokenizer(),
        LoadOptions(slots=4, max_context=100, plain_prompt="{question}"),
    )
    asked = [
        Generate(Role.DRAFT, Context((Message("user", f"{i}" * 20_000),)), 4) for i in range(40)
    ]
    async with Ticking() as ticking:
        replies = await model.generate(asked)
    model.close()
    assert all(isinstance(reply, Failed) for reply in replies)
    assert ticking.longest < 0.03
