"""What the scorer makes of requests and outputs, with an engine that only takes notes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch

from rsdecode.backends.transformers.jobs import Prefill, Prefilled
from rsdecode.core.errors import ContextFull, OutOfMemory, PromptTooLong, RewardError
from rsdecode.core.requests import Failed, Scored
from rsdecode.core.types import Usage
from rsdecode.rewards.heads import probability
from rsdecode.rewards.prefix_scorer import PrefixScorer
from rsdecode.rewards.reader import EngineReader
from tests.rewards.tiny import request


class Letters:
    """Every character is a token; a step ends in 0."""

    mark = "0"

    def __init__(self, closing: tuple[int, ...] = ()) -> None:
        self.closing_ids = closing

    def prompt_ids(self, messages) -> tuple[int, ...]:
        return tuple(map(ord, messages[-1].content))

    def step_ids(self, text: str, index: int) -> tuple[int, ...]:
        return (*map(ord, text), 0)


class Notes:
    """Gives each mark the output (position, 2)."""

    def __init__(self) -> None:
        self.jobs: list[Prefill] = []
        self.calls = 0
        self.failing = ""

    async def prefill(self, jobs: Sequence[Prefill]) -> list[Prefilled | Failed]:
        self.calls += 1
        self.jobs += jobs
        return [
            Failed(OutOfMemory("full"))
            if job.session == self.failing
            else Prefilled(
                torch.tensor([[m, 2.0] for m in job.marks]), Usage(len(job.ids), calls=1)
            )
            for job in jobs
        ]

    def close(self) -> None: ...


def scorer(engine: Notes, closing: tuple[int, ...] = (), **options) -> PrefixScorer:
    options = {"max_context": 20} | options
    reader = EngineReader(engine, lambda outputs: outputs[:, 0] / 100, options.pop("columns", ()))
    return PrefixScorer(reader, Letters(closing), kind="letters", **options)


async def test_one_job_reads_all_steps_of_a_request_at_their_marks():
    engine = Notes()
    ask = request("q", ["ab"], ["c", "de"], "s1")
    [reply] = await scorer(engine, columns=(7, 8)).score([ask])
    ids = (*map(ord, "qab"), 0, ord("c"), 0, *map(ord, "de"), 0)
    assert engine.jobs == [Prefill("s1", ids, (5, 8), (7, 8), returns=(4,))]
    assert reply == Scored((pytest.approx(0.05), pytest.approx(0.08)), Usage(9, calls=1))


async def test_a_closing_makes_one_job_per_step_with_the_mark_at_its_end():
    engine = Notes()
    [reply] = await scorer(engine, (1, 2)).score([request("q", ["a"], ["b", "c"], "s")])
    before = (ord("q"), ord("a"), 0, ord("b"), 0)
    assert [job.ids for job in engine.jobs] == [(*before, 1, 2), (*before, ord("c"), 0, 1, 2)]
    assert [job.marks for job in engine.jobs] == [(6,), (8,)]
    assert reply.rewards == pytest.approx((0.06, 0.08))
    assert reply.usage == Usage(16, calls=2)


async def test_all_requests_go_to_the_engine_in_one_call_and_failures_stay_apart():
    engine = Notes()
    engine.failing = "bad"
    asks = [
        request("q", [], ["a"], "1"),
        request("q", [], ["b"], "bad"),
        request("q" * 30, [], ["c"], "2"),
        request("q", [], [], "3"),
        request("qq", [], ["d"], "4"),
    ]
    replies = await scorer(engine).score(asks)
    assert engine.calls == 1
    assert [type(r.error) if isinstance(r, Failed) else r.rewards for r in replies] == [
        (pytest.approx(0.02),),
        OutOfMemory,
        PromptTooLong,
        RewardError,
        (pytest.approx(0.03),),
    ]


@pytest.mark.parametrize("room", [0, -1])
async def test_the_window_counts_every_token(room):
    engine = Notes()
    ask = request("question", [], ["step"])
    length = len("question") + len("step") + 1 + len((1, 2))
    [reply] = await scorer(engine, (1, 2), max_context=length + room).score([ask])
    assert isinstance(reply, Scored) == (room == 0)
    if room:
        assert isinstance(reply.error, ContextFull)
        assert str(length) in str(reply.error)


async def test_nothing_to_ask_is_no_call():
    engine = Notes()
    assert await scorer(engine).score([]) == []
    assert engine.calls == 0


@pytest.mark.parametrize("value", [math.nan, math.inf])
async def test_a_reward_that_is_no_number_fails(value):
    reader = EngineReader(Notes(), lambda outputs: outputs[:, 0] * value)
    reward = PrefixScorer(reader, Letters(), max_context=20, kind="broken")
    [reply] = await reward.score([request("q", [], ["a"])])
    assert isinstance(reply, Failed)
    assert "broken" in str(reply.error)
    assert "float32" in str(reply.error)


def test_probability_is_a_sigmoid_or_a_softmax():
    outputs = torch.tensor([[0.0, math.log(3)], [1.0, 1.0]])
    assert probability(None)(outputs).tolist() == pytest.approx([0.5, 1 / (1 + math.exp(-1))])
    assert probability(1)(outputs).tolist() == pytest.approx([0.75, 0.5])
    assert probability(0)(outputs).tolist() == pytest.approx([0.25, 0.5])
