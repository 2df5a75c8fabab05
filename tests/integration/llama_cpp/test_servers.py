"""A real model behind real llama.cpp servers: steps, streams, cancellation, templates, RSD."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.request
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rsdecode.backends.openai_http import Address, HttpSettings, ServedModel, Transport
from rsdecode.core.protocols import Models
from rsdecode.core.requests import Generate, Generated, Sampling
from rsdecode.core.segment import PARAGRAPH, WHOLE_ANSWER, Boundary
from rsdecode.core.types import Context, FinishReason, Message, Problem, Role, Usage
from rsdecode.core.weighting import Constant
from rsdecode.methods import RSD
from rsdecode.rewards.arithmetic import ArithmeticReward
from rsdecode.session.job import Job
from rsdecode.session.session import Session
from rsdecode.text.pretrained import load_tokenizer
from tests.integration.llama_cpp import without_template
from tests.integration.llama_cpp.conftest import serving

pytestmark = pytest.mark.integration
QUESTIONS = (
    "Write two short paragraphs about the sea, with an emoji in each.",
    "What is 17 * 3? Think step by step.",
    "\u5199\u4e00\u9996\u5173\u4e8e\u5927\u6d77\u7684\u8bd7\u3002",
)


def served(url: str, tokenizer: str | None = None, **options: Any) -> ServedModel:
    words = None if tokenizer is None else load_tokenizer(tokenizer)
    transport = Transport(Address((url,), "smollm2"), HttpSettings())
    return ServedModel(transport, tokenizer=words, **options)


def ask(question: str, boundary: Boundary, max_tokens: int, temperature: float = 0.0) -> Generate:
    context = Context((Message("user", question),))
    sampling = Sampling(temperature)
    return Generate(Role.DRAFT, context, max_tokens, boundary, sampling, seed=3, session=question)


def paid(usage: Usage) -> Usage:
    """What does not depend on the cache and the clock."""
    read = usage.prefill_tokens + usage.cached_tokens
    return replace(usage, prefill_tokens=read, cached_tokens=0, attended_tokens=0, seconds=0.0)


def slots(url: str) -> list[dict[str, Any]]:
    with urllib.request.urlopen(f"{url.removesuffix('/v1')}/slots", timeout=30) as reply:
        return json.load(reply)


@pytest.mark.parametrize(
    ("by_ids", "temperature"), [(False, 0.0), (True, 0.8)], ids=["by-text-greedy", "by-ids-sampled"]
)
async def test_streamed_replies_are_the_same(
    url: str, tokenizer: str, by_ids: bool, temperature: float
) -> None:
    """One after the other: beside others llama.cpp's own sums differ in the last digit."""
    model = served(url, tokenizer if by_ids else None)
    shown: defaultdict[str, str] = defaultdict(str)
    for question in QUESTIONS:
        for boundary in (PARAGRAPH, WHOLE_ANSWER, Boundary(tokens=7)):
            request = ask(question, boundary, 32, temperature)
            shown.clear()
            await model.generate([request])  # its prompt is in the cache from here on
            [expected] = await model.generate([request])

            def show(place: int, text: str) -> None:
                shown["all"] += text

            [found] = await model.stream([request], show)
            assert isinstance(found, Generated)
            assert isinstance(expected, Generated)
            assert found.segment == expected.segment
            assert found.finish_reason == expected.finish_reason
            assert paid(found.usage) == paid(expected.usage)
            assert shown["all"].startswith(found.segment.text)
    model.close()


@pytest.mark.parametrize("shown", [True, False], ids=["streamed", "not-shown"])
async def test_cancelling_stops_the_server_within_one_decode_step(url: str, shown: bool) -> None:
    model = served(url)
    question = ask("Tell a very long story about a ship, its crew and the sea.", WHOLE_ANSWER, 900)
    await model.generate([replace(question, max_tokens=2)])
    begun = asyncio.Event()
    started = time.perf_counter()
    if shown:
        task = asyncio.create_task(model.stream([question], lambda *_: begun.set()))
        await asyncio.wait_for(begun.wait(), 60)
    else:
        task = asyncio.create_task(model.generate([question]))
        while not any(slot["is_processing"] for slot in await asyncio.to_thread(slots, url)):
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.3)
    assert not task.done(), time.perf_counter() - started
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    cancelled = time.perf_counter()
    while any(slot["is_processing"] for slot in await asyncio.to_thread(slots, url)):
        assert time.perf_counter() - cancelled < 0.5, "of a request that nobody waits for"
        await asyncio.sleep(0.005)
    print(f"the slot was free {time.perf_counter() - cancelled:.3f} s after the cancellation")
    model.close()


@pytest.mark.parametrize("by_ids", [False, True], ids=["by-text", "by-ids"])
async def test_rsd_on_real_servers(url: str, tokenizer: str, by_ids: bool) -> None:
    model = served(url, tokenizer if by_ids else None)
    method = RSD(weighting=Constant(0.5), boundary=PARAGRAPH)
    method = replace(method, limits=replace(method.limits, max_tokens=160, max_step_tokens=64))
    jobs = [Job(Problem.ask(q, id=str(i)), method) for i, q in enumerate(QUESTIONS[:2])]
    session = Session(Models(model, model, ArithmeticReward()))
    trajectories = [t async for t in session.run(jobs)]
    assert len(trajectories) == len(jobs)
    for trajectory in trajectories:
        assert trajectory.error is None
        assert trajectory.stop_reason in (FinishReason.EOS, FinishReason.LENGTH)
        assert trajectory.text.strip()
        written = sum(step.token_count for step in trajectory.steps)
        decoded = trajectory.ledger.draft.decoded_tokens + trajectory.ledger.target.decoded_tokens
        assert 0 < written <= decoded
    model.close()


@pytest.mark.parametrize("rename", [False, True], ids=["chatml-known", "chatml-unknown"])
async def test_a_file_without_a_template(smollm2: Path, tmp_path: Path, rename: bool) -> None:
    """llama.cpp makes ChatML of the conversation whether the model knows its tokens or not."""
    pytest.importorskip("gguf")
    file = without_template.write(smollm2, tmp_path / "model.gguf", rename=rename)
    with serving(file, 1, 512) as url:
        model = served(url, plain_prompt="Question: {question}\nAnswer:")
        [reply] = await model.generate([ask("What is 2 + 2?", WHOLE_ANSWER, 8)])
        notes = model.notes
        model.close()
    assert isinstance(reply, Generated)
    read = reply.usage.prefill_tokens + reply.usage.cached_tokens
    assert bool(notes) == rename
    assert (read < 16) == rename, "ChatML's tokens are read letter by letter"


async def test_a_cache_that_cannot_forget_is_named(url: str) -> None:
    model = served(url)
    model.clear()
    await model.generate([ask("Hello.", WHOLE_ANSWER, 2)])
    assert any("llama.cpp" in note and "forget" in note for note in model.notes)
    model.close()
