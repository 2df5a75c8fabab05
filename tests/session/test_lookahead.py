from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsdecode.backends.scripted import ScriptedModel, ScriptedReward
from rsdecode.core.errors import RequestError
from rsdecode.core.protocols import Models
from rsdecode.core.requests import Failed, Generate, Generated, Sampling, Score, Scored
from rsdecode.core.types import Context, FinishReason, Problem, Role, Segment, Trajectory, Usage
from rsdecode.core.weighting import BinaryStep, Clipping
from rsdecode.methods import RSD
from rsdecode.session.drive import advance, drive
from rsdecode.session.lookahead import Lookahead
from rsdecode.session.session import Session
from tests.session.scripts import Gated, collect, jobs, judge, models, problems, until, write

SAMPLED = Sampling(0.7)
METHODS = [
    RSD(weighting=BinaryStep(0.5)),
    RSD(weighting=Clipping(), draft_sampling=SAMPLED, target_sampling=SAMPLED),
]
REQUEST = Generate(Role.DRAFT, Context(Problem.ask("question 0").messages), 5)


class Later(ScriptedReward):
    """Replies after what was started ahead is written."""

    async def score(self, requests: Sequence[Score]) -> list[Scored | Failed]:
        for _ in range(3):
            await asyncio.sleep(0)
        return await super().score(requests)


class Never(ScriptedReward):
    """Is scoring, and does not come to an end."""

    def __init__(self) -> None:
        super().__init__(judge)
        self.scoring = asyncio.Event()

    async def score(self, requests: Sequence[Score]) -> list[Scored | Failed]:
        self.scoring.set()
        await asyncio.Event().wait()
        raise AssertionError


def one_step(request: Generate) -> str:
    return "one\n\n"


def without_costs(trajectory: Trajectory) -> Trajectory:
    ledger = replace(trajectory.ledger, draft=Usage())
    return replace(trajectory, ledger=ledger, seconds=0.0)


def needed(trajectory: Trajectory) -> tuple[int, int]:
    """Draft calls and tokens that were not speculative."""
    used = trajectory.ledger.draft
    return used.calls - used.speculative_calls, used.decoded_tokens - used.speculative_tokens


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(METHODS), st.integers(0, 2**32), st.booleans())
def test_answers_are_the_same_with_and_without(method: RSD, seed: int, scheduled: bool) -> None:
    """And what was written in vain is in the ledger beside what the answer needed, no more."""
    some = problems(4)
    off = [drive(method(problem, seed=seed), models()) for problem in some]
    ahead, later = replace(method, lookahead=1), replace(models(), reward=Later(judge))
    if scheduled:

        async def run() -> list[Trajectory]:
            return await collect(Session(later).run(jobs(some, ahead, seed=seed)))

        ended = {t.problem.id: t for t in asyncio.run(run())}
        on = [ended[problem.id] for problem in some]
    else:
        on = [drive(ahead(problem, seed=seed), later) for problem in some]
    assert list(map(without_costs, on)) == list(map(without_costs, off))
    assert list(map(needed, on)) == list(map(needed, off))
    rejected = [draft.finish_reason for t in off for step in t.steps for draft in step.rejected]
    dropped = sum(t.ledger.draft.speculative_calls for t in on)
    assert dropped == rejected.count(FinishReason.STOP)


def test_a_dropped_draft_costs_what_its_reply_says() -> None:
    def judge_second_down(request: Score) -> float:
        return 0.0 if len(request.context.answer) == 1 else 1.0

    def three(request: Generate) -> str:
        step = len(request.context.answer)
        return f"{request.role} {step} " + "more " * step + ("\n\n" if step < 2 else "")

    scripted = ScriptedModel(three)
    method, [problem] = RSD(lookahead=1), problems(1)
    reward = Later(judge_second_down)
    on = drive(method(problem), Models(scripted, scripted, reward))
    off = drive(RSD()(problem), Models(scripted, scripted, reward))
    assert [step.source.value for step in on.steps] == ["draft", "target", "draft"]
    used, plain = on.ledger.draft, off.ledger.draft
    assert (used.speculative_calls, used.speculative_tokens) == (1, 5)  # "draft 2 more more", end
    assert (used.calls, used.decoded_tokens) == (plain.calls + 1, plain.decoded_tokens + 5)
    assert used.prefill_tokens == plain.prefill_tokens + 2 + 2 + 3
    assert plain.speculative_calls == on.ledger.target.speculative_calls == 0


async def test_a_draft_that_is_cut_off_is_a_speculative_call_without_tokens() -> None:
    def first(request: Generate) -> str:
        draft.gates["question 0"] = asyncio.Event()  # the draft written ahead never comes
        return "one\n\n"

    draft, target = Gated(writer=first), ScriptedModel(lambda request: "two")
    reward = Later(lambda request: 0.0)
    [problem] = problems(1)
    ended = await advance(RSD(lookahead=1)(problem), Models(draft, target, reward))
    used = ended.ledger.draft
    assert (ended.text, used.calls, used.speculative_calls, used.speculative_tokens) == (
        "two", 1, 1, 0,
    )  # fmt: skip
    assert used.seconds > 0.0
    assert len(asyncio.all_tasks()) == 1


async def test_scoring_and_drafting_overlap() -> None:
    """The reward of the first step comes only once the second draft is being written."""
    written = asyncio.Event()

    def draft(request: Generate) -> str:
        if request.context.answer:
            written.set()
            return "end"
        return "one\n\n"

    class Waiting(ScriptedReward):
        async def score(self, requests: Sequence[Score]) -> list[Scored | Failed]:
            await written.wait()
            return await super().score(requests)

    writer = ScriptedModel(draft)
    waiting = Models(writer, writer, Waiting(lambda request: 1.0))
    [problem] = problems(1)
    async with asyncio.timeout(60):
        ended = await advance(RSD(lookahead=1)(problem), waiting)
    assert ended.text == "one\n\nend"


def test_what_a_failure_leaves_behind_is_dropped_and_charged() -> None:
    def broken(request: Score) -> float:
        raise RequestError("no reward")

    plain = replace(models(draft=one_step), reward=Later(broken))
    [problem] = problems(1)
    ended = drive(RSD(lookahead=1)(problem), plain)
    assert (ended.stop_reason, ended.error) == (FinishReason.ERROR, "no reward")
    assert (ended.ledger.draft.calls, ended.ledger.draft.speculative_calls) == (2, 1)


def test_a_failure_ahead_is_raised_when_its_reply_is_needed_and_not_before() -> None:
    def draft(request: Generate) -> str:
        if len(request.context.answer) == 1:
            raise RequestError("no memory")
        return "a b\n\n"

    [problem] = problems(1)
    for weight, stop in ((1.0, FinishReason.ERROR), (0.0, FinishReason.EOS)):
        reward = Later(lambda request, weight=weight: weight)
        some = Models(ScriptedModel(draft), ScriptedModel(lambda request: "end"), reward)
        ended = drive(RSD(lookahead=1)(problem), some)
        assert ended.stop_reason is stop
        assert ended.ledger.draft.speculative_calls == int(weight == 0.0)


@pytest.mark.parametrize("deadline", [False, True], ids=["cancelled", "deadline"])
async def test_a_cancelled_problem_leaves_no_request_behind(
    deadline: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, passed = asyncio.get_running_loop(), 0.0
    clock = loop.time
    monkeypatch.setattr(loop, "time", lambda: clock() + passed)
    reward = Never()
    stuck = replace(models(draft=one_step), reward=reward)
    handle = Session(stuck).submit(problems(1)[0], RSD(lookahead=1), deadline_s=3600)
    await reward.scoring.wait()
    await asyncio.sleep(0)
    if deadline:
        passed = 3601.0
        loop.call_soon(lambda: None)  # wakes the loop, which then sees the time
    else:
        assert handle.cancel()
    ended = await handle.result()
    assert ended.stop_reason is FinishReason.CANCELLED
    used = ended.ledger.draft
    assert (used.calls, used.speculative_calls) == (2, 1)
    assert len(asyncio.all_tasks()) == 1


async def test_leaving_a_run_early_cancels_what_was_started_ahead() -> None:
    def first(request: Generate) -> str:
        draft.gates["question 0"] = asyncio.Event()
        return "one\n\n"

    draft = Gated(writer=first)
    session = Session(Models(draft, draft, Never()))
    task = asyncio.create_task(collect(session.run(jobs(problems(1), RSD(lookahead=1)))))
    await until(lambda: bool(draft.waiting))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(asyncio.all_tasks()) == 1


async def test_equal_requests_are_taken_one_by_one() -> None:
    replies = iter(["first", "second"])
    model = ScriptedModel(lambda request: next(replies))
    async with aclosing(Lookahead(lambda request: model.generate([request]))) as ahead:
        ahead.start(REQUEST)
        ahead.start(replace(REQUEST))
        taken = [ahead.take(replace(REQUEST)) for _ in range(3)]
        got = [reply for started in taken[:2] if started for reply in await started]
    texts = [reply.segment.text for reply in got if isinstance(reply, Generated)]
    assert (texts, taken[2]) == (["first", "second"], None)
    assert ahead.spent.draft == Usage()


async def test_dropping_what_was_never_started_is_a_bug() -> None:
    model = ScriptedModel(write)
    async with aclosing(Lookahead(lambda request: model.generate([request]))) as ahead:
        with pytest.raises(ValueError, match="dropped a request that it had not started"):
            ahead.drop(REQUEST)
        ahead.start(REQUEST)
        with pytest.raises(ValueError, match="had not started"):
            ahead.drop(replace(REQUEST, context=REQUEST.context.followed_by(Segment("x"))))
