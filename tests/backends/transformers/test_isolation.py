"""What is wrong with one request fails that request alone, and no slot is lost to it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pytest

from rsdecode.backends.transformers import sampling
from rsdecode.backends.transformers.cache import SlotCache
from rsdecode.backends.transformers.engine import Engine
from rsdecode.backends.transformers.jobs import Decode, Decoded, Prefill, Prefilled
from rsdecode.backends.transformers.network import CausalNetwork
from rsdecode.backends.transformers.sampling import sample
from rsdecode.core.errors import RequestError
from rsdecode.core.requests import Failed, Sampling
from tests.backends.transformers import tiny

POISON = 77
LIMIT = 20


class Poisoned:
    """A tokenizer without a fast backend that cannot decode one token."""

    added_tokens_decoder: Mapping[int, Any] = MappingProxyType({})

    def __init__(self) -> None:
        self._tokenizer: Any = tiny.tokenizer()

    def decode(self, ids: list[int], **options: Any) -> str:
        if POISON in ids:
            raise ValueError("no such piece")
        return self._tokenizer.decode(ids, **options)


def make_engine(slots: int = 2, tokenizer: Any = None, **options: Any) -> Engine:
    network = CausalNetwork(tiny.causal_model())
    given: dict[str, Any] = {"slots": slots, "max_context": 99, **options}
    return Engine(network, tokenizer=tokenizer or tiny.tokenizer(), **given)


async def assert_serves(engine: Engine, slots: int = 2) -> None:
    """All slots are free, and replies are right."""
    jobs = [Decode(f"fine {i}", (20 + i, 21), 4) for i in range(2 * slots)]
    async with asyncio.timeout(LIMIT):
        replies = await engine.decode(jobs)
    for job, reply in zip(jobs, replies, strict=True):
        assert isinstance(reply, Decoded)
        assert list(reply.ids) == tiny.greedy(tiny.causal_model(), job.ids, 4)
    assert engine.load == 0
    assert not any(slot.busy for slot in engine._table.slots)
    engine.close()


async def fails(engine: Engine, bad: Decode | Prefill, words: str) -> None:
    """A good request beside a bad one is served, the bad one is told why it is not."""
    async with asyncio.timeout(LIMIT):
        if isinstance(bad, Prefill):
            fine = Prefill("good", (1, 2, 3), (2,))
            good, failed, other = await engine.prefill([fine, bad, fine])
            assert isinstance(good, Prefilled)
            assert isinstance(other, Prefilled)
        else:
            fine = Decode("good", (1, 2, 3), 5)
            good, failed, other = await engine.decode([fine, bad, fine])
            assert isinstance(good, Decoded)
            assert isinstance(other, Decoded)
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, RequestError)
    assert words in str(failed.error)


@pytest.mark.parametrize(
    ("job", "words"),
    [
        (Decode("bad", (), 4), "without any token"),
        (Decode("bad", (1, 9999), 4), "token id 9999"),
        (Decode("bad", (1, -3), 4), "token id -3"),
        (Decode("bad", (1, 2), "many"), "many"),  # pyright: ignore[reportArgumentType]
        (Prefill("bad", (1, 2, 3), ()), "positions []"),
        (Prefill("bad", (1, 2, 3), (3,)), "positions [3]"),
        (Prefill("bad", (1, 2, 3), (-1,)), "positions [-1]"),
        (Prefill("bad", (1, 2, 3), (2,), (9999,)), "out of bounds"),
    ],
)
async def test_a_bad_job(job: Decode | Prefill, words: str) -> None:
    engine = make_engine()
    await fails(engine, job, words)
    await assert_serves(engine)


async def test_a_tokenizer_that_raises_when_the_job_starts() -> None:
    engine = make_engine(tokenizer=Poisoned())
    await fails(engine, Decode("bad", (1, POISON), 4), "no such piece")
    await assert_serves(engine)


async def test_a_tokenizer_that_raises_while_the_job_writes() -> None:
    """The token that it cannot decode is written by one of three rows."""
    written = {i: tiny.greedy(tiny.causal_model(), (i, 21), 12) for i in range(20, 60)}
    bad, poison = next((i, ids[5]) for i, ids in written.items() if ids[5] not in ids[:5])
    fine = [i for i, ids in written.items() if poison not in (i, *ids)][:4]

    class Raises(Poisoned):
        def decode(self, ids: list[int], **options: Any) -> str:
            if poison in ids:
                raise ValueError("no such piece")
            return self._tokenizer.decode(ids, **options)

    engine = make_engine(slots=3, tokenizer=Raises())
    jobs = [Decode(str(i), (i, 21), 12) for i in (fine[0], bad, *fine[1:])]
    async with asyncio.timeout(LIMIT):
        replies = await engine.decode(jobs)
    assert isinstance(replies[1], Failed)
    assert all(isinstance(reply, Decoded) for reply in (replies[0], *replies[2:])), replies
    assert engine.load == 0
    assert not any(slot.busy for slot in engine._table.slots)
    engine.close()


async def test_a_copy_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = make_engine(slots=2)
    shared = tuple(range(1, 30))
    await engine.decode([Decode("a", shared, 2)])

    def failing(*_: Any) -> None:
        raise RuntimeError("the copy failed")

    with monkeypatch.context() as patch:
        patch.setattr(SlotCache, "copy", failing)
        async with asyncio.timeout(LIMIT):
            [reply] = await engine.decode([Decode("b", (*shared, 5), 2)])
        assert isinstance(reply, Failed)
    [again] = await engine.decode([Decode("b", (*shared, 5), 3)])
    assert isinstance(again, Decoded)
    assert list(again.ids) == tiny.greedy(tiny.causal_model(), (*shared, 5), 3)
    await assert_serves(engine)


async def test_a_row_that_cannot_be_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    bad = Sampling(0.7, top_k=3)

    def failing(logits: Any, options: Any, uniforms: Any) -> list[int]:
        if bad in options:
            raise ZeroDivisionError("no probability")
        return sample(logits, options, uniforms)

    monkeypatch.setattr(sampling, "sample", failing)
    engine = make_engine(slots=3)
    await fails(engine, Decode("bad", (1, 2, 3), 5, sampling=bad), "no probability")
    await assert_serves(engine)


async def test_a_row_that_cannot_be_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: Any) -> None:
        raise ZeroDivisionError("no distribution")

    monkeypatch.setattr("rsdecode.backends.transformers.serving.distribution", failing)
    engine = make_engine(slots=3)
    await fails(engine, Decode("bad", (1, 2, 3), 5, explained=True), "no distribution")
    await assert_serves(engine)


async def test_a_conclusion_that_raises_fails_its_job() -> None:
    engine = make_engine()

    def conclude(place: int, read: Prefilled) -> int:
        if place == 1:
            raise ValueError("no verdict")
        return 10 * place

    jobs = [Prefill(str(i), (1, 2, 3), (2,)) for i in range(3)]
    first, second, third = await engine.conclude(jobs, conclude)
    assert (first, third) == (0, 20)
    assert isinstance(second, Failed)
    assert "no verdict" in str(second.error)
    await assert_serves(engine)


async def test_a_network_that_fails_for_one_row_of_a_batch() -> None:
    class Faulty(CausalNetwork):
        passes = 0

        def forward(self, ids: Any, batch: Any, cache: Any, *, last_only: bool) -> Any:
            self.passes += 1
            if (ids == POISON).any():
                raise IndexError("this one fails")
            return super().forward(ids, batch, cache, last_only=last_only)

    model = tiny.causal_model()
    engine = Engine(Faulty(model), tokenizer=tiny.tokenizer(), slots=8, max_context=99)
    jobs = [Decode(str(i), (POISON if i == 5 else 20 + i, 21), 4) for i in range(8)]
    async with asyncio.timeout(LIMIT):
        replies = await engine.decode(jobs)
    for i, (job, reply) in enumerate(zip(jobs, replies, strict=True)):
        if i == 5:
            assert isinstance(reply, Failed)
            assert "this one fails" in str(reply.error)
        else:
            assert isinstance(reply, Decoded)
            assert list(reply.ids) == tiny.greedy(model, job.ids, 4)
    await assert_serves(engine)
