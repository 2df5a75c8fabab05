from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import aclosing
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsdecode.backends.scripted import ScriptedModel, ScriptedReward
from rsdecode.core.budget import Budget
from rsdecode.core.errors import ConfigError, RequestError
from rsdecode.core.limits import Limits
from rsdecode.core.protocols import Models
from rsdecode.core.requests import Generate, Sampling, Score
from rsdecode.core.types import FinishReason, Problem, Role, Step, Trajectory
from rsdecode.core.weighting import Clipping
from rsdecode.methods import RSD, Method, Single
from rsdecode.session.drive import drive
from rsdecode.session.scheduler import Job, Scheduler
from tests.session.scripts import (
    Gated,
    by_id,
    collect,
    jobs,
    judge,
    models,
    problems,
    until,
    write,
)

SAMPLED = Sampling(0.7)
METHODS: list[Method] = [
    RSD(),
    RSD(weighting=Clipping(), draft_sampling=SAMPLED, target_sampling=SAMPLED),
    RSD(candidates=3, draft_sampling=SAMPLED, limits=Limits(max_step_tokens=5, max_tokens=30)),
    RSD(budget=Budget(0.3), limits=Limits(max_steps=7)),
    Single(Role.DRAFT, sampling=SAMPLED),
]


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(METHODS), st.integers(1, 12), st.integers(0, 2**32), st.permutations(range(8))
)
def test_the_same_trajectories_as_the_reference_driver(
    method: Method, concurrency: int, seed: int, order: list[int]
) -> None:
    some = problems(8)
    work = [Job(some[i], sample) for i in order for sample in range(2)]
    scheduler = Scheduler(models(), method, seed=seed, concurrency=concurrency)
    got = by_id(asyncio.run(collect(scheduler.run(work))))
    alone = [drive(method(j.problem, seed=seed, sample=j.sample), models()) for j in work]
    assert got == by_id(alone)
    assert len(got) == 16


def test_samples_and_seeds_make_a_difference() -> None:
    """What the test above compares is not the same text again and again."""
    method, [problem] = METHODS[1], problems(1)
    texts = {
        drive(method(problem, seed=seed, sample=sample), models()).text
        for seed in range(3)
        for sample in range(3)
    }
    assert len(texts) == 9


async def test_problems_of_twelve_and_thirteen_steps_get_theirs_in_one_batch() -> None:
    length = {"twelve": 12, "thirteen": 13}

    def count(request: Generate) -> str:
        step = len(request.context.answer) + 1
        return "a step\n\n" if step < length[request.context.question] else "the end"

    counting = ScriptedModel(count)
    scheduler = Scheduler(Models(counting, counting, ScriptedReward(lambda r: 0.9)), RSD())
    some = [Problem.ask(question, id=question) for question in length]
    ended = await collect(scheduler.run(jobs(some)))
    assert {t.problem.id: len(t.steps) for t in ended} == length
    assert all(t.stop_reason is FinishReason.EOS for t in ended)


@pytest.mark.parametrize("error", [RequestError("no memory"), ZeroDivisionError("oops")])
@pytest.mark.parametrize("role", Role)
async def test_a_failure_is_its_own_problems(role: Role, error: Exception) -> None:
    def fails(request: Generate | Score) -> bool:
        return request.context.question == "question 2" and len(request.context.answer) >= 1

    def broken_write(request: Generate) -> str:
        if fails(request):
            raise error
        return write(request)

    def broken_judge(request: Score) -> float:
        if fails(request):
            raise error
        return judge(request)

    some, method = problems(5), RSD()
    broken = {
        Role.DRAFT: Models(ScriptedModel(broken_write), models().target, models().reward),
        Role.TARGET: Models(models().draft, ScriptedModel(broken_write), models().reward),
        Role.REWARD: models(reward=broken_judge),
    }[role]
    got = by_id(await collect(Scheduler(broken, method).run(jobs(some))))
    whole = by_id(await collect(Scheduler(models(), method).run(jobs(some))))
    failed = got.pop(("2", 0))
    expected = whole.pop(("2", 0))
    assert failed.stop_reason is FinishReason.ERROR
    assert str(error) in (failed.error or "")
    assert failed.steps == expected.steps[: len(failed.steps)]
    assert 1 <= len(failed.steps) < len(expected.steps)
    assert got == whole


async def test_a_slow_problem_holds_nobody() -> None:
    gated = Gated("question 0")
    scheduler = Scheduler(Models(gated, gated, models().reward), RSD(), concurrency=2)
    run = scheduler.run(jobs(problems(6)))
    async with aclosing(run):
        order = [(await anext(run)).problem.id for _ in range(5)]
        assert set(order) == {"1", "2", "3", "4", "5"}
        gated.gates["question 0"].set()
        assert (await anext(run)).problem.id == "0"
        with pytest.raises(StopAsyncIteration):
            await anext(run)


async def test_cancelling_one_problem_keeps_its_steps_and_the_others() -> None:
    gated = Gated()
    some = problems(3)
    reached = asyncio.Event()

    def listen(job: Job, step: Step) -> None:
        if job.problem.id == "1" and not reached.is_set():
            gated.gates["question 1"] = asyncio.Event()  # the second step never comes
            reached.set()

    scheduler = Scheduler(Models(gated, gated, models().reward), RSD(), listener=listen)
    task = asyncio.create_task(collect(scheduler.run(jobs(some))))
    await reached.wait()
    await until(lambda: bool(gated.waiting))
    assert scheduler.cancel("1") == 1
    assert scheduler.cancel("unknown") == 0
    got = by_id(await task)
    whole = by_id(await collect(Scheduler(models(), RSD()).run(jobs(some))))
    cancelled = got.pop(("1", 0))
    assert (cancelled.stop_reason, cancelled.error) == ("cancelled", "cancelled by the caller")
    assert cancelled.steps == whole.pop(("1", 0)).steps[:1]
    assert got == whole
    assert scheduler.cancel("1") == 0


async def test_cancelling_ends_all_samples_of_a_problem() -> None:
    gated = Gated("question 0")
    scheduler = Scheduler(Models(gated, gated, models().reward), RSD())
    [problem] = problems(1)
    task = asyncio.create_task(collect(scheduler.run([Job(problem, s) for s in range(3)])))
    await until(lambda: len(gated.waiting) == 3)
    assert scheduler.cancel("0") == 3
    assert [t.stop_reason for t in await task] == ["cancelled"] * 3


async def test_cancelling_a_problem_that_has_not_taken_its_first_step() -> None:
    """The loop is not run between the start of the second problem and its cancellation."""
    scheduler = Scheduler(models(), RSD(), concurrency=1)
    run = scheduler.run(jobs(problems(3)))
    async with aclosing(run):
        first = await anext(run)
        assert scheduler.cancel("1") == 1
        second, third = await collect(run)
    assert first.stop_reason is FinishReason.EOS
    assert (second.problem.id, second.stop_reason, second.steps) == ("1", "cancelled", ())
    assert (third.problem.id, third.stop_reason) == ("2", "eos")


async def test_a_deadline_ends_its_own_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop's clock is moved by hand, so that nothing depends on the speed of the machine."""
    loop, passed = asyncio.get_running_loop(), 0.0
    clock = loop.time
    monkeypatch.setattr(loop, "time", lambda: clock() + passed)
    gated = Gated("question 0")
    scheduler = Scheduler(
        Models(gated, gated, models().reward), RSD(), timeout_s=3600, concurrency=2
    )
    got: dict[str, Trajectory] = {}
    async with aclosing(scheduler.run(jobs(problems(4)))) as run:
        for _ in range(3):
            trajectory = await anext(run)
            got[trajectory.problem.id] = trajectory
        passed = 3601.0
        loop.call_soon(lambda: None)  # wakes the loop, which then sees the time
        late = await anext(run)
    assert {i: t.stop_reason for i, t in got.items()} == dict.fromkeys("123", "eos")
    assert (late.problem.id, late.stop_reason) == ("0", "cancelled")
    assert late.error == "the deadline of 3600 s passed"


async def test_ids_in_flight_are_unique() -> None:
    same = [Problem.ask("question 0", id="x"), Problem.ask("question 1", id="x")]
    for pair in (same, same[:1] * 2):
        scheduler = Scheduler(models(), RSD())
        with pytest.raises(ValueError, match="problem 'x', sample 0 is in flight already"):
            await collect(scheduler.run(jobs(pair)))
        assert len(asyncio.all_tasks()) == 1
    one_after_the_other = Scheduler(models(), RSD(), concurrency=1)
    assert len(await collect(one_after_the_other.run(jobs(same)))) == 2


@pytest.mark.parametrize("closing", [True, False], ids=["aclose", "break"])
async def test_leaving_early_cancels_what_is_in_flight(closing: bool) -> None:
    gated = Gated("question 0", "question 2")
    scheduler = Scheduler(Models(gated, gated, models().reward), RSD())
    if closing:
        async with aclosing(scheduler.run(jobs(problems(3)))) as run:
            assert (await anext(run)).problem.id == "1"
            assert len(asyncio.all_tasks()) > 1
        assert len(asyncio.all_tasks()) == 1
    else:
        async for trajectory in scheduler.run(jobs(problems(3))):
            assert trajectory.problem.id == "1"
            break
        await until(lambda: len(asyncio.all_tasks()) == 1)
    assert scheduler.cancel("0") == 0
    gated.gates.clear()
    assert len(await collect(scheduler.run(jobs(problems(3))))) == 3


async def test_a_cancelled_caller_leaves_no_tasks() -> None:
    gated = Gated("question 0")
    scheduler = Scheduler(Models(gated, gated, models().reward), RSD())
    task = asyncio.create_task(collect(scheduler.run(jobs(problems(1)))))
    await until(lambda: bool(gated.waiting))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(asyncio.all_tasks()) == 1


async def test_jobs_are_read_lazily() -> None:
    read = 0

    def endless() -> Iterator[Job]:
        nonlocal read
        while True:
            read += 1
            yield Job(Problem.ask("q", id=str(read)))

    async with aclosing(Scheduler(models(), RSD(), concurrency=3).run(endless())) as run:
        assert read == 0
        for ended in range(1, 6):
            await anext(run)
            assert read <= 2 * 3 + ended  # in flight, and ended but not yet taken


async def test_never_more_in_flight_than_concurrency() -> None:
    now = peak = 0

    class Counting(ScriptedModel):
        async def generate(self, requests: Any) -> Any:
            nonlocal now, peak
            now += 1
            peak = max(peak, now)
            await asyncio.sleep(0)
            now -= 1
            return await super().generate(requests)

    counting = Counting(write)
    await collect(
        Scheduler(Models(target=counting), Single(), concurrency=4).run(jobs(problems(20)))
    )
    assert peak == 4


async def test_the_listener_hears_the_steps_of_each_trajectory_in_order() -> None:
    heard: dict[str, list[Step]] = {}

    def listen(job: Job, step: Step) -> None:
        heard.setdefault(job.problem.id, []).append(step)

    ended = await collect(Scheduler(models(), RSD(), listener=listen).run(jobs(problems(6))))
    assert heard == {t.problem.id: list(t.steps) for t in ended}
    assert sum(map(len, heard.values())) > 6


async def test_a_bug_in_the_listener_ends_the_run_in_the_callers_frame() -> None:
    def listen(job: Job, step: Step) -> None:
        raise KeyError("bug")

    with pytest.raises(KeyError, match="bug"):
        await collect(Scheduler(models(), RSD(), listener=listen).run(jobs(problems(3))))
    assert len(asyncio.all_tasks()) == 1


async def test_two_runs_of_one_scheduler_do_not_mix() -> None:
    """The slow run is left early; the fast one neither waits for it nor loses anything."""
    gated = Gated("question 0")
    scheduler = Scheduler(Models(gated, gated, models().reward), RSD())
    some = problems(6)
    slow = asyncio.create_task(collect(scheduler.run(jobs(some[:1]))))
    await until(lambda: bool(gated.waiting))
    fast = await collect(scheduler.run(jobs(some[1:])))
    assert {t.problem.id for t in fast} == {"1", "2", "3", "4", "5"}
    assert not slow.done()
    gated.gates["question 0"].set()
    assert [t.problem.id for t in await slow] == ["0"]


async def test_nothing_to_do() -> None:
    assert await collect(Scheduler(models(), RSD()).run([])) == []


def test_impossible_options() -> None:
    with pytest.raises(ValueError, match="concurrency 0 must be at least 1"):
        Scheduler(models(), RSD(), concurrency=0)
    with pytest.raises(ValueError, match="timeout_s 0 must be positive"):
        Scheduler(models(), RSD(), timeout_s=0)
    with pytest.raises(ValueError, match="timeout_s nan"):
        Scheduler(models(), RSD(), timeout_s=float("nan"))
    with pytest.raises(ConfigError, match="--target"):
        Scheduler(Models(draft=models().draft, reward=models().reward), RSD())


async def test_models_that_keep_something_are_told_when_a_problem_is_over() -> None:
    class Keeping(ScriptedModel):
        def __init__(self) -> None:
            super().__init__(write)
            self.over: list[str] = []

        def end(self, session: str) -> None:
            self.over.append(session)

        def clear(self) -> None:
            self.over.clear()

    keeping = Keeping()
    some = problems(5)
    both = Models(keeping, keeping, ScriptedReward(judge))
    await collect(Scheduler(both, RSD(), concurrency=2).run(jobs(some)))
    assert sorted(keeping.over) == [f"{problem.id}/0" for problem in some]
    both.clear()
    assert keeping.over == []
