from __future__ import annotations

import asyncio
import random
import threading
import time
from typing import Any

import pytest
import torch

from rsdecode.backends.transformers.cache import SlotCache
from rsdecode.backends.transformers.engine import Engine
from rsdecode.backends.transformers.jobs import Decode, Decoded, Prefill, Prefilled
from rsdecode.backends.transformers.network import CausalNetwork
from rsdecode.core.cost import attended_tokens
from rsdecode.core.errors import Cancelled, ModelLoadError, OutOfMemory, RequestError
from rsdecode.core.requests import Failed, Sampling
from rsdecode.core.segment import PARAGRAPH, Boundary
from rsdecode.core.types import FinishReason
from tests.backends.transformers import tiny

FAMILIES = list(tiny.CONFIGS)


def make_engine(model: Any, **options: Any) -> Engine:
    given = {"slots": 4, "max_context": 200, "eos": frozenset({0}), **options}
    return Engine(CausalNetwork(model), tokenizer=tiny.tokenizer(), **given)


@pytest.fixture(params=FAMILIES)
def model(request: pytest.FixtureRequest) -> Any:
    return tiny.causal_model(request.param)


def prompts(count: int, seed: int = 1) -> list[tuple[int, ...]]:
    draw = random.Random(seed)
    lengths = [draw.randint(1, 60) for _ in range(count)]
    return [tuple(draw.randint(1, 256) for _ in range(n)) for n in lengths]


async def decode(engine: Engine, jobs: list[Decode]) -> list[Decoded]:
    replies = await engine.decode(jobs)
    assert all(isinstance(reply, Decoded) for reply in replies), replies
    return [reply for reply in replies if isinstance(reply, Decoded)]


async def test_greedy_equals_a_forward_pass_without_cache(model: Any) -> None:
    engine = make_engine(model)
    jobs = [Decode(str(i), ids, 12) for i, ids in enumerate(prompts(9))]
    for job, reply in zip(jobs, await decode(engine, jobs), strict=True):
        expected = tiny.greedy(model, job.ids, 12)
        assert [*reply.ids, *([0] if reply.finish_reason is FinishReason.EOS else [])] == expected
    engine.close()


async def test_the_end_of_a_session_leaves_nothing_to_do() -> None:
    """Also in an engine that is asked nothing more."""
    engine = make_engine(tiny.causal_model())
    await decode(engine, [Decode("a", (1, 2, 3), 2)])
    await asyncio.sleep(0.3)  # its thread sleeps now
    for number in range(50):
        engine.end(f"session {number}")
    deadline = time.monotonic() + 10
    while engine.load:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    engine.close()


@pytest.mark.parametrize("temperature", [0.0, 1.0])
async def test_batched_equals_sequential(temperature: float) -> None:
    """16 problems of different lengths, at once and one by one (also on a fresh engine)."""
    model = tiny.causal_model()
    options = Sampling(temperature, top_p=0.9, top_k=50)
    jobs = [
        Decode(str(i), ids, 5 + i, PARAGRAPH, options, seed=i) for i, ids in enumerate(prompts(16))
    ]
    engine = make_engine(model)
    batched = await decode(engine, jobs)
    engine.close()
    fresh = make_engine(model, slots=1)
    single = [(await decode(fresh, [job]))[0] for job in jobs]
    fresh.close()
    assert [r.ids for r in batched] == [r.ids for r in single]
    assert [r.finish_reason for r in batched] == [r.finish_reason for r in single]
    assert len({r.ids for r in batched}) > 10


async def test_a_rewind_and_a_continuation_reuse_the_cache(model: Any) -> None:
    engine = make_engine(model)
    [ids] = prompts(1, seed=5)
    [first] = await decode(engine, [Decode("s", ids, 10)])
    rejected = await decode(engine, [Decode("s", (*ids, 7, 8, 9), 4)])
    accepted = await decode(engine, [Decode("s", (*ids, *first.ids), 4)])
    assert rejected[0].usage.cached_tokens >= len(ids)
    assert rejected[0].usage.prefill_tokens <= 3
    assert accepted[0].usage.cached_tokens >= len(ids)
    assert list(rejected[0].ids) == tiny.greedy(model, (*ids, 7, 8, 9), 4)
    assert list(accepted[0].ids) == tiny.greedy(model, (*ids, *first.ids), 4)
    engine.close()


async def test_an_unchanged_prefix_is_copied_to_another_session(model: Any) -> None:
    engine = make_engine(model)
    shared = prompts(1, seed=8)[0] * 2
    await decode(engine, [Decode("a", (*shared, 3), 6)])
    replies = await decode(engine, [Decode(name, (*shared, 4, 5), 6) for name in "bcd"])
    for reply in replies:
        assert reply.usage.cached_tokens == len(shared)
        assert reply.usage.prefill_tokens == 2
        assert list(reply.ids) == tiny.greedy(model, (*shared, 4, 5), 6)[: len(reply.ids)]
    engine.close()


async def test_long_prompts_are_read_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rsdecode.backends.transformers.batching.CHUNK_TOKENS", 16)
    model = tiny.causal_model()
    engine = make_engine(model)
    jobs = [Decode(str(i), ids * 3, 5) for i, ids in enumerate(prompts(6, seed=2))]
    jobs = [job for job in jobs if len(job.ids) < 190]
    for job, reply in zip(jobs, await decode(engine, jobs), strict=True):
        assert list(reply.ids) == tiny.greedy(model, job.ids, 5)[: len(reply.ids)]
    ids = jobs[0].ids
    [read] = await engine.prefill([Prefill("r", ids, tuple(range(0, len(ids), 3)))])
    assert isinstance(read, Prefilled)
    with torch.inference_mode():
        logits = model(torch.tensor([ids])).logits[0, ::3]
    torch.testing.assert_close(read.outputs, logits, atol=1e-4, rtol=1e-4)
    engine.close()


async def test_prefill_gives_the_outputs_of_a_plain_forward_pass(model: Any) -> None:
    engine = make_engine(model)
    jobs = [
        Prefill(str(i), ids, tuple(sorted({len(ids) // 2, len(ids) - 1})), (3, 200))
        for i, ids in enumerate(prompts(9, seed=3))
    ]
    for job, reply in zip(jobs, await engine.prefill(jobs), strict=True):
        assert isinstance(reply, Prefilled)
        with torch.inference_mode():
            logits = model(torch.tensor([job.ids])).logits[0]
        expected = logits[list(job.marks)][:, [3, 200]]
        torch.testing.assert_close(reply.outputs, expected, atol=1e-4, rtol=1e-4)
    engine.close()


async def test_usage_counts_what_was_computed() -> None:
    engine = make_engine(tiny.causal_model())
    ids = tuple(range(1, 31))
    [first] = await decode(engine, [Decode("s", ids, 6)])
    decoded = first.usage.decoded_tokens
    assert first.usage.prefill_tokens == 30
    assert first.usage.cached_tokens == 0
    assert decoded == len(first.ids) + (first.finish_reason is FinishReason.EOS)
    assert first.usage.attended_tokens == attended_tokens(0, 30 + decoded - 1)
    longer = (*ids, *first.ids, 9)
    [second] = await decode(engine, [Decode("s", longer, 1)])
    assert second.usage.prefill_tokens + second.usage.cached_tokens == len(longer)
    assert second.usage.prefill_tokens == 2  # the last sampled token, and the new one
    engine.close()


async def test_finish_reasons() -> None:
    model = tiny.causal_model()
    engine = make_engine(model, max_context=40)
    [ids] = [p for p in prompts(30, seed=4) if len(p) == 26 or p == prompts(30, seed=4)[0]][:1]
    free = tiny.greedy(model, ids[:20], 30)
    assert 0 not in free
    [limit] = await decode(engine, [Decode("a", ids[:20], 5)])
    assert limit.finish_reason is FinishReason.STEP_LIMIT
    [full] = await decode(engine, [Decode("b", ids[:20], 100)])
    assert full.finish_reason is FinishReason.LENGTH
    assert len(ids[:20]) + len(full.ids) == 40
    [chunk] = await decode(engine, [Decode("c", ids[:20], 100, Boundary(tokens=3))])
    assert (len(chunk.ids), chunk.finish_reason) == (3, FinishReason.STOP)
    engine.close()
    ended = make_engine(model, eos=frozenset({free[4]}))
    [reply] = await decode(ended, [Decode("d", ids[:20], 100)])
    assert reply.finish_reason is FinishReason.EOS
    assert list(reply.ids) == free[: free.index(free[4])]
    ended.close()


async def test_closing_answers_what_is_under_way() -> None:
    engine = make_engine(tiny.causal_model(), eos=frozenset())
    task = asyncio.create_task(engine.decode([Decode(str(i), (1, 2), 190) for i in range(9)]))
    await asyncio.sleep(0.05)
    engine.close()
    engine.close()
    replies = await task
    errors = [reply.error for reply in replies if isinstance(reply, Failed)]
    assert errors
    assert all(isinstance(error, Cancelled) for error in errors)
    [late] = await engine.decode([Decode("x", (1,), 1)])
    assert isinstance(late, Failed)


async def test_a_cancelled_call_gives_its_slot_back() -> None:
    engine = make_engine(tiny.causal_model(), slots=1, eos=frozenset())
    endless = asyncio.create_task(engine.decode([Decode("a", (1, 2), 10**9)]))
    await asyncio.sleep(0.05)
    endless.cancel()
    [reply] = await asyncio.wait_for(engine.decode([Decode("b", (3,), 2)]), timeout=20)
    assert isinstance(reply, Decoded)
    assert endless.cancelled()
    engine.close()


async def test_the_longest_go_first_and_none_is_passed_over_by_more_than_a_batch() -> None:
    engine = make_engine(tiny.causal_model(), slots=2, eos=frozenset())
    lengths = [3, 4, 5, 20, 21, 22, 23, 24]
    ended: list[int] = []

    async def serve(length: int) -> None:
        await decode(engine, [Decode(str(length), (1, length), length)])
        ended.append(length)

    occupied = [asyncio.create_task(serve(n)) for n in (40, 41)]
    await asyncio.sleep(0)
    waiting = [asyncio.create_task(serve(n)) for n in lengths]
    await asyncio.gather(*occupied, *waiting)
    assert [n for n in ended if n in (3, 4, 5)] == [3, 4, 5]
    assert ended.index(24) < ended.index(20)
    assert ended.index(3) < ended.index(21)
    engine.close()


class Faulty(CausalNetwork):
    """Fails for batches with more rows than it has memory for, or on a certain token."""

    rows = 2

    def forward(self, ids: Any, batch: Any, cache: Any, *, last_only: bool) -> Any:
        if len(ids) > self.rows:
            raise torch.OutOfMemoryError("CUDA out of memory")
        if (ids == 13).any():
            raise IndexError("index 13 is out of range")
        outputs = super().forward(ids, batch, cache, last_only=last_only)
        return torch.where((ids == 14).any(), torch.nan, outputs)


async def test_out_of_memory_halves_the_batch() -> None:
    model = tiny.causal_model()
    engine = Engine(Faulty(model), tokenizer=tiny.tokenizer(), slots=8, max_context=99)
    jobs = [Decode(str(i), (20 + i, 21), 4) for i in range(8)]
    for job, reply in zip(jobs, await decode(engine, jobs), strict=True):
        assert list(reply.ids) == tiny.greedy(model, job.ids, 4)
    engine.close()


async def test_out_of_memory_of_one_row_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Faulty, "rows", 0)
    engine = Engine(
        Faulty(tiny.causal_model()), tokenizer=tiny.tokenizer(), slots=2, max_context=99
    )
    [reply] = await engine.decode([Decode("a", (1,), 1)])
    assert isinstance(reply, Failed)
    assert isinstance(reply.error, OutOfMemory)
    assert "--slots" in str(reply.error)
    engine.close()


async def test_a_failure_is_answered_and_the_engine_goes_on() -> None:
    model = tiny.causal_model()
    engine = Engine(Faulty(model), tokenizer=tiny.tokenizer(), slots=1, max_context=99)
    replies = await engine.decode([Decode(str(t), (t,), 3) for t in (13, 14, 15)])
    assert isinstance(replies[0], Failed)
    assert isinstance(replies[0].error, RequestError)
    assert "index 13" in str(replies[0].error)
    assert isinstance(replies[1], Failed)
    assert "NaN" in str(replies[1].error)
    assert isinstance(replies[2], Decoded)
    assert list(replies[2].ids) == tiny.greedy(model, (15,), 3)
    engine.close()


class Poison(Boundary):
    """A boundary that fails at the first token: what a request's own mistake looks like."""

    def reader(self) -> Any:
        return self

    def add(self, text: str) -> int | None:
        raise KeyError("poison")


POISON = Poison(("x",))


class Uncopyable(SlotCache):
    def copy(self, source: int, target: int, length: int) -> None:
        raise RuntimeError("no copy")


async def test_a_bad_request_fails_alone_and_leaves_no_slot_busy() -> None:
    model = tiny.causal_model()
    engine = make_engine(model, slots=2)
    for _ in range(3):
        good = [Decode(str(i), ids, 6) for i, ids in enumerate(prompts(4))]
        bad = [Decode(f"bad {i}", (5, 6), 6, POISON) for i in range(3)]
        replies = await asyncio.wait_for(engine.decode([*good, *bad]), 30)
        for job, reply in zip(good, replies, strict=False):
            assert isinstance(reply, Decoded)
            assert list(reply.ids) == tiny.greedy(model, job.ids, 6)[: len(reply.ids)]
        errors = [str(reply.error) for reply in replies if isinstance(reply, Failed)]
        assert errors == ["the model failed: KeyError: 'poison'"] * 3
        [empty] = await asyncio.wait_for(engine.prefill([Prefill("x", (1, 2), ())]), 30)
        assert isinstance(empty, Failed)
        assert "positions []" in str(empty.error)
        [unknown] = await asyncio.wait_for(engine.decode([Decode("y", (1, 10**6), 2)]), 30)
        assert isinstance(unknown, Failed)
    assert engine.load == 0
    engine.close()


async def test_a_request_whose_slot_cannot_be_filled_fails_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rsdecode.backends.transformers.passes.SlotCache", Uncopyable)
    engine = make_engine(tiny.causal_model(), slots=2)
    shared = tuple(range(1, 40))
    await decode(engine, [Decode("a", shared, 3)])
    for _ in range(3):  # a slot that stays busy would hold the third one for ever
        [copied] = await asyncio.wait_for(engine.decode([Decode("b", (*shared, 7), 3)]), 30)
        assert isinstance(copied, Failed)
        assert "no copy" in str(copied.error)
    assert len(await decode(engine, [Decode("a", (*shared, 8), 3)])) == 1
    engine.close()


async def test_new_text_is_shown_as_it_comes() -> None:
    model = tiny.causal_model()
    passes = 0

    class Counting(CausalNetwork):
        def forward(self, *given: Any, **options: Any) -> Any:
            nonlocal passes
            passes += 1
            return super().forward(*given, **options)

    engine = Engine(Counting(model), tokenizer=tiny.tokenizer(), slots=8, max_context=200)
    jobs = [
        Decode(str(i), ids, 25, PARAGRAPH, Sampling(1.0), seed=i)
        for i, ids in enumerate(prompts(24))
    ]
    shown: list[list[tuple[str, int]]] = [[] for _ in jobs]
    replies = await engine.decode(jobs, lambda place, text: shown[place].append((text, passes)))
    for pieces, reply in zip(shown, replies, strict=True):
        assert isinstance(reply, Decoded)
        assert "".join(text for text, _ in pieces) == reply.text
        seen = [at for _, at in pieces]
        assert seen == sorted(seen)
    assert sum(len(pieces) for pieces in shown) > 200
    engine.close()


async def test_text_comes_before_the_next_token_but_one() -> None:
    """Each token's text is there when one more forward pass has begun, at the latest."""
    model, made, lag = tiny.causal_model(), 0, list[int]()

    class Slow(CausalNetwork):
        def forward(self, *given: Any, **options: Any) -> Any:
            nonlocal made
            time.sleep(0.02)
            made += 1
            return super().forward(*given, **options)

    engine = Engine(Slow(model), tokenizer=tiny.tokenizer(), slots=2, max_context=200)
    ids = tuple(range(70, 90))  # letters: each token is a character
    told = 0

    def show(place: int, text: str) -> None:
        nonlocal told
        told += 1
        lag.append(made - told)

    [reply] = await engine.decode([Decode("a", ids, 30, seed=1)], show)
    assert isinstance(reply, Decoded)
    assert told > 5
    assert sorted(lag)[len(lag) * 9 // 10] <= 1 + (len(reply.ids) - told)
    engine.close()


async def test_a_loop_is_woken_once_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    woken, wake = 0, loop.call_soon_threadsafe

    def counting(*given: Any, **options: Any) -> Any:
        nonlocal woken
        woken += 1
        return wake(*given, **options)

    monkeypatch.setattr(loop, "call_soon_threadsafe", counting)
    engine = make_engine(tiny.causal_model(), slots=16, eos=frozenset())
    jobs = [Decode(str(i), (1, 2, i + 3), 20) for i in range(16)]
    await engine.decode(jobs, lambda place, text: None)
    assert woken <= 25  # not 16 x 20
    engine.close()


async def test_long_prompts_never_pause_an_answer_for_more_than_three_passes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rsdecode.backends.transformers.batching.CHUNK_TOKENS", 8)
    model, passes = tiny.causal_model(), list[bool]()

    class Recording(CausalNetwork):
        def forward(self, ids: Any, *given: Any, **options: Any) -> Any:
            passes.append(ids.shape[1] == 1)
            return super().forward(ids, *given, **options)

    engine = Engine(Recording(model), tokenizer=tiny.tokenizer(), slots=8, max_context=500)
    written = asyncio.create_task(decode(engine, [Decode("a", (1, 2), 100, seed=3)]))
    await asyncio.sleep(0.01)
    long = [tuple(random.Random(i).choices(range(1, 256), k=300)) for i in range(5)]
    await decode(engine, [Decode(f"long {i}", ids, 2) for i, ids in enumerate(long)])
    await written
    begun = passes.index(True)
    ended = len(passes) - passes[::-1].index(True)
    runs = "".join("1" if one else "0" for one in passes[begun:ended]).split("1")
    assert max(map(len, runs)) <= 2, "two passes over prompts, then every answer's next token"
    assert sum(map(len, runs)) > 30
    engine.close()


def test_many_jobs_from_three_threads_with_cancellations_and_poison() -> None:
    """Every other job is as alone, no slot is lost, and nothing is left to do."""
    model = tiny.causal_model()
    engine = make_engine(model, slots=8, max_context=64)
    some = prompts(12, seed=9)
    alone = {
        ids: tuple(token for token in tiny.greedy(model, ids, 4) if token) for ids in set(some)
    }
    wrong: list[str] = []

    async def one(number: int, draw: random.Random) -> None:
        ids = some[number % len(some)]
        if number % 40 == 7:
            [reply] = await engine.decode([Decode(f"p{number}", ids, 4, POISON)])
            if not isinstance(reply, Failed):
                wrong.append(f"{number}: the poison was served")
            return
        serving = asyncio.ensure_future(engine.decode([Decode(f"j{number}", ids, 4)]))
        if number % 25 == 3:
            await asyncio.sleep(draw.random() * 0.5)
            serving.cancel()
            await asyncio.wait([serving])
            return
        [reply] = await serving
        if not isinstance(reply, Decoded) or reply.ids != alone[ids][: len(reply.ids)]:
            wrong.append(f"{number}: {reply}")

    async def all_of(thread: int) -> None:
        draw = random.Random(thread)
        numbers = range(1000 * thread, 1000 * thread + 500)
        async with asyncio.timeout(100):
            await asyncio.gather(*(one(number, draw) for number in numbers))

    threads = [threading.Thread(target=asyncio.run, args=(all_of(i),)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive(), "it hangs"
    assert wrong == []
    for _ in range(100):
        if not engine.load:
            break
        time.sleep(0.05)
    assert engine.load == 0
    before = time.process_time()
    time.sleep(0.5)
    assert time.process_time() - before < 0.05, "an idle engine is busy"
    engine.close()


def test_closing_answers_callers_of_several_loops() -> None:
    engine = make_engine(tiny.causal_model(), eos=frozenset())
    replies: list[Any] = []

    def run() -> None:
        replies.extend(asyncio.run(engine.decode([Decode("a", (1, 2), 190)] * 30)))

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(0.1)
    engine.close()
    for thread in threads:
        thread.join(30)
    assert len(replies) == 90
    assert any(isinstance(reply, Failed) for reply in replies)


def test_layers_whose_masks_are_unknown_are_refused() -> None:
    model = tiny.causal_model()
    model.config.layer_types = ["chunked_attention", "full_attention", "full_attention"]
    with pytest.raises(ModelLoadError, match="chunked_attention"):
        CausalNetwork(model)
