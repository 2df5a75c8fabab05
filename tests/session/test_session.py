from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsdecode.backends.scripted import ScriptedModel, ScriptedReward
from rsdecode.core.budget import Budget
from rsdecode.core.errors import ConfigError, Overloaded, RequestError, SessionClosed
from rsdecode.core.limits import Limits
from rsdecode.core.protocols import Models
from rsdecode.core.requests import Decoding, Generate, Sampling, Score
from rsdecode.core.types import FinishReason, Problem, Role, Trajectory
from rsdecode.core.weighting import Clipping
from rsdecode.methods import RSD, Majority, Method, Single
from rsdecode.session.drive import drive
from rsdecode.session.events import Decided, Delta, Event, Finished, Proposed, Scored
from rsdecode.session.handle import Handle
from rsdecode.session.job import Job
from rsdecode.session.session import Session
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
    work = [Job(some[i], method, seed, sample) for i in order for sample in range(2)]

    async def run() -> list[Trajectory]:
        return await collect(Session(models(), concurrency=concurrency).run(work))

    got = by_id(asyncio.run(run()))
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
    session = Session(Models(counting, counting, ScriptedReward(lambda r: 0.9)))
    some = [Problem.ask(question, id=question) for question in length]
    ended = await collect(session.run(jobs(some, RSD())))
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
    got = by_id(await collect(Session(broken).run(jobs(some, method))))
    whole = by_id(await collect(Session(models()).run(jobs(some, method))))
    failed = got.pop(("2", 0))
    expected = whole.pop(("2", 0))
    assert failed.stop_reason is FinishReason.ERROR
    assert str(error) in (failed.error or "")
    assert failed.steps == expected.steps[: len(failed.steps)]
    assert 1 <= len(failed.steps) < len(expected.steps)
    assert got == whole


async def test_a_slow_problem_holds_nobody() -> None:
    gated = Gated("question 0")
    session = Session(Models(gated, gated, models().reward), concurrency=2)
    run = session.run(jobs(problems(6), RSD()))
    async with aclosing(run):
        order = [(await anext(run)).problem.id for _ in range(5)]
        assert set(order) == {"1", "2", "3", "4", "5"}
        gated.gates["question 0"].set()
        assert (await anext(run)).problem.id == "0"
        with pytest.raises(StopAsyncIteration):
            await anext(run)


async def test_cancelling_one_problem_keeps_its_steps_and_the_others() -> None:
    stuck = asyncio.Event()

    class Stuck(ScriptedModel):
        async def generate(self, requests: Any) -> Any:
            context = requests[0].context
            if context.question == "question 1" and context.answer:
                stuck.set()
                await asyncio.Event().wait()  # the second step never comes
            return await super().generate(requests)

    model = Stuck(write)
    session = Session(Models(model, model, models().reward))
    handles = [session.submit_job(job) for job in jobs(problems(3), RSD())]
    await stuck.wait()
    assert handles[1].cancel()
    assert not handles[1].cancel()
    got = by_id([await handle.result() for handle in handles])
    whole = by_id(await collect(Session(models()).run(jobs(problems(3), RSD()))))
    cancelled = got.pop(("1", 0))
    assert (cancelled.stop_reason, cancelled.error) == ("cancelled", "cancelled by the caller")
    assert cancelled.steps == whole.pop(("1", 0)).steps[:1]
    assert got == whole
    assert not handles[1].cancel()
    events = [event async for event in handles[1]]
    assert [type(event) for event in events[-2:]] == [Decided, Finished]


@pytest.mark.parametrize("concurrency", [1, 3])
async def test_cancelling_a_problem_that_has_not_taken_its_first_step(concurrency: int) -> None:
    """The loop is not run between submission and cancellation; the problem waits, or does not."""
    session = Session(models(), concurrency=concurrency)
    handles = [session.submit_job(job) for job in jobs(problems(3), RSD())]
    handles[1].cancel("no more interest")
    first, second, third = [await handle.result() for handle in handles]
    assert (first.stop_reason, third.stop_reason) == ("eos", "eos")
    assert (second.problem.id, second.stop_reason, second.steps) == ("1", "cancelled", ())
    assert second.error == "no more interest"
    assert [event async for event in handles[1]] == [Finished(second)]


async def test_a_deadline_ends_its_own_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop's clock is moved by hand, so that nothing depends on the speed of the machine."""
    loop, passed = asyncio.get_running_loop(), 0.0
    clock = loop.time
    monkeypatch.setattr(loop, "time", lambda: clock() + passed)
    gated = Gated("question 0")
    session = Session(Models(gated, gated, models().reward), concurrency=2)
    got: dict[str, Trajectory] = {}
    async with aclosing(session.run(jobs(problems(4), RSD(), deadline_s=3600))) as run:
        for _ in range(3):
            trajectory = await anext(run)
            got[trajectory.problem.id] = trajectory
        passed = 3601.0
        loop.call_soon(lambda: None)  # wakes the loop, which then sees the time
        late = await anext(run)
    assert {i: t.stop_reason for i, t in got.items()} == dict.fromkeys("123", "eos")
    assert (late.problem.id, late.stop_reason) == ("0", "cancelled")
    assert late.error == "the deadline of 3600 s passed"


async def test_a_deadline_also_passes_for_those_that_wait() -> None:
    gated = Gated("question 0")
    async with Session(Models(gated, gated, models().reward), concurrency=1) as session:
        [held, waits] = [session.submit(p, RSD(), deadline_s=0.05) for p in problems(2)]
        assert session.waiting == 1
        assert [(await handle.result()).error for handle in (held, waits)] == [
            "the deadline of 0.05 s passed"
        ] * 2
        assert (session.in_flight, session.waiting) == (0, 0)


async def test_methods_and_seeds_side_by_side_are_as_alone() -> None:
    """Also of one and the same problem, whose requests would else share a cache session."""
    some, seen = problems(3), set[tuple[str, str]]()

    class Watching(ScriptedModel):
        async def generate(self, requests: Any) -> Any:
            seen.update((request.context.question, request.session) for request in requests)
            await asyncio.sleep(0)
            return await super().generate(requests)

    watching = Watching(write)
    async with Session(Models(watching, watching, models().reward)) as session:
        work = [(p, method, seed) for p in some for method in METHODS for seed in (0, 1)]
        handles = [session.submit(p, method, seed=seed) for p, method, seed in work]
    together = [replace(await handle.result(), seconds=0.0) for handle in handles]
    alone = [drive(method(p, seed=seed), models()) for p, method, seed in work]
    assert together == [replace(trajectory, seconds=0.0) for trajectory in alone]
    assert len(seen) == len(work), "two problems in flight had one cache session"


@pytest.mark.parametrize("closing", [True, False], ids=["aclose", "break"])
async def test_leaving_early_cancels_what_is_in_flight(closing: bool) -> None:
    gated = Gated("question 0", "question 2")
    session = Session(Models(gated, gated, models().reward))
    if closing:
        async with aclosing(session.run(jobs(problems(3), RSD()))) as run:
            assert (await anext(run)).problem.id == "1"
            assert len(asyncio.all_tasks()) > 1
        assert len(asyncio.all_tasks()) == 1
    else:
        async for trajectory in session.run(jobs(problems(3), RSD())):
            assert trajectory.problem.id == "1"
            break
        await until(lambda: len(asyncio.all_tasks()) == 1)
    assert session.in_flight == 0
    gated.gates.clear()
    assert len(await collect(session.run(jobs(problems(3), RSD())))) == 3


async def test_a_cancelled_caller_leaves_no_tasks() -> None:
    gated = Gated("question 0")
    session = Session(Models(gated, gated, models().reward))
    task = asyncio.create_task(collect(session.run(jobs(problems(1), RSD()))))
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
            yield Job(Problem.ask("q", id=str(read)), RSD())

    async with aclosing(Session(models(), concurrency=3).run(endless())) as run:
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

    session = Session(Models(target=Counting(write)), concurrency=4)
    await collect(session.run(jobs(problems(20), Single())))
    assert peak == 4


async def test_priorities_decide_who_starts_next() -> None:
    gated = Gated("question 0")
    async with Session(Models(gated, gated, models().reward), concurrency=1) as session:
        order: list[str] = []
        for problem, priority in zip(problems(6), [0, 2, 1, 2, 0, 1], strict=True):
            handle = session.submit(problem, RSD(), priority=priority)
            handle.add_done_callback(lambda id=problem.id: order.append(id))
        gated.gates["question 0"].set()
    assert order == ["0", "4", "2", "5", "1", "3"]


async def test_back_pressure_and_a_full_queue() -> None:
    gated = Gated("question 0")
    session = Session(Models(gated, gated, models().reward), concurrency=1, queue_limit=2)
    some = problems(4)
    handles = [session.submit(problem, RSD()) for problem in some[:3]]
    with pytest.raises(Overloaded, match=r"2 problems wait already \(queue_limit 2\)"):
        session.submit(some[3], RSD())
    room = asyncio.create_task(session.room())
    await until(lambda: bool(gated.waiting))
    assert not room.done()
    gated.gates["question 0"].set()
    await room
    assert session.submit(some[3], RSD()) is not None
    await session.close()
    assert all([(await handle.result()).finished for handle in handles])


async def test_two_runs_and_submissions_share_a_full_session() -> None:
    """A run that finds no room waits for it instead of failing."""
    gated = Gated("question 0")
    session = Session(Models(gated, gated, models().reward), concurrency=1, queue_limit=0)
    held = session.submit(problems(1)[0], RSD())
    run = asyncio.create_task(collect(session.run(jobs(problems(5)[1:], RSD()))))
    await until(lambda: bool(gated.waiting))
    gated.gates["question 0"].set()
    assert sorted(t.problem.id for t in await run) == ["1", "2", "3", "4"]
    assert (await held.result()).finished


async def test_closing_waits_and_refuses_what_comes_later() -> None:
    async with Session(models(), concurrency=2) as session:
        handles = [session.submit(problem, RSD()) for problem in problems(5)]
    assert all(handle.done for handle in handles)
    assert {(await handle.result()).stop_reason for handle in handles} == {"eos"}
    with pytest.raises(SessionClosed, match="takes no more problems"):
        session.submit(problems(1)[0], RSD())


async def test_an_exception_in_the_body_cancels_all() -> None:
    gated = Gated("question 0")
    handles: list[Handle] = []

    async def use() -> None:
        async with Session(Models(gated, gated, models().reward), concurrency=1) as session:
            handles.extend(session.submit(problem, RSD()) for problem in problems(3))
            await until(lambda: bool(gated.waiting))
            raise KeyError("bug")

    with pytest.raises(KeyError):
        await use()
    results = [await handle.result() for handle in handles]
    assert [(t.stop_reason, t.error) for t in results] == [
        ("cancelled", "the session was closed")
    ] * 3
    assert len(asyncio.all_tasks()) == 1


class Typing(ScriptedModel):
    """Shows its texts word by word."""

    async def stream(self, requests: Any, show: Any) -> Any:
        replies = await super().generate(requests)
        for place, reply in enumerate(replies):
            for word in re.findall(r"\s*\S+\s*", reply.segment.text):
                await asyncio.sleep(0)
                show(place, word)
        return replies


@pytest.mark.parametrize("method", [*METHODS, Majority(3), RSD(lookahead=1)], ids=repr)
async def test_events_tell_the_trajectory(method: Method) -> None:
    typing = Typing(write)
    async with Session(Models(typing, typing, models().reward)) as session:
        handles = [session.submit(problem, method, seed=3) for problem in problems(8)]
    for handle in handles:
        events: list[Event] = [event async for event in handle]
        trajectory = await handle.result()
        decided = [event for event in events if isinstance(event, Decided)]
        assert [event.step for event in decided] == list(trajectory.steps)
        assert [event.index for event in decided] == list(range(len(decided)))
        assert "".join(event.step.text for event in decided) == trajectory.text
        assert events[-1] == Finished(trajectory)
        written = [event for event in events if isinstance(event, Delta)]
        assert {delta.role for delta in written} <= {Role.DRAFT, Role.TARGET}
        if isinstance(method, RSD):
            _check_steps(trajectory, events)


def _check_steps(trajectory: Trajectory, events: list[Event]) -> None:
    """What was proposed, scored and written for each step is what its decision says."""
    for index, step in enumerate(trajectory.steps):
        proposed = [e for e in events if isinstance(e, Proposed) and e.step == index]
        scored = [e for e in events if isinstance(e, Scored) and e.step == index]
        texts = {event.text for event in proposed}
        assert {draft.text for draft in step.rejected} <= texts
        if step.reward is not None and scored:
            assert step.reward in {reward for event in scored for reward in event.rewards}
        role = Role.DRAFT if step.accepted else Role.TARGET
        own = [e for e in events if isinstance(e, Delta) and (e.role, e.step) == (role, index)]
        if step.text and role is Role.TARGET:
            assert "".join(delta.text for delta in own) == step.text
        if step.text and role is Role.DRAFT:
            assert step.text in texts


@pytest.mark.parametrize("wanted", ["steps", "none"])
async def test_fewer_events_on_demand(wanted: Any) -> None:
    typing = Typing(write)
    async with Session(Models(typing, typing, models().reward)) as session:
        handle = session.submit(problems(1)[0], RSD(), events=wanted)
        kinds = {type(event) async for event in handle}
    assert kinds == ({Proposed, Scored, Decided, Finished} if wanted == "steps" else set())
    assert (await handle.result()).finished


@pytest.mark.parametrize("role", [Role.DRAFT, Role.TARGET])
async def test_text_while_it_is_written_of_one_role_alone(role: Role) -> None:
    """The other one's model is not asked to stream: each piece of text costs its listener."""
    asked: list[Role] = []

    class Noting(Typing):
        async def stream(self, requests: Any, show: Any) -> Any:
            asked.extend(request.role for request in requests)
            return await super().stream(requests, show)

    noting = Noting(write)
    method, kinds = RSD(), {Proposed, Scored, Decided, Delta, Finished}
    async with Session(Models(noting, noting, models().reward)) as session:
        handles = [session.submit(p, method, events=role) for p in problems(8)]
        events = [event for handle in handles for event in [event async for event in handle]]
    assert {event.role for event in events if isinstance(event, Delta)} == {role}
    assert {type(event) for event in events} == kinds
    assert set(asked) == {role}


@pytest.mark.parametrize("role", Role)
async def test_a_stray_cancelled_error_of_a_model_is_a_failure(role: Role) -> None:
    """As when a library cancels a future of its own: nobody has cancelled the problem."""

    def stray(request: Generate | Score) -> Any:
        if request.context.question == "question 1":
            raise asyncio.CancelledError
        return judge(request) if isinstance(request, Score) else write(request)

    parts = {
        Role.DRAFT: Models(ScriptedModel(stray), models().target, models().reward),
        Role.TARGET: Models(models().draft, ScriptedModel(stray), ScriptedReward(lambda r: 0.0)),
        Role.REWARD: models(reward=stray),
    }[role]
    for method in (RSD(), RSD(candidates=2, draft_sampling=SAMPLED), RSD(lookahead=1)):
        ended = by_id(await collect(Session(parts).run(jobs(problems(3), method))))
        assert [ended[str(i), 0].stop_reason for i in range(3)] == ["eos", "error", "eos"]
        assert ended["1", 0].error == f"the {role} model failed: CancelledError: "


async def test_a_model_that_fails_at_the_end_of_a_problem_holds_nobody() -> None:
    class Forgetful(ScriptedModel):
        def end(self, session: str) -> None:
            raise KeyError(session)

        def clear(self) -> None:
            pass

    forgetful = Forgetful(write)
    parts = Models(forgetful, forgetful, models().reward)
    ended = await collect(Session(parts, concurrency=1).run(jobs(problems(4), RSD())))
    assert [t.stop_reason for t in ended] == ["eos"] * 4


@pytest.mark.parametrize("fault", [lambda r: None, lambda r: 1 / 0, lambda r: "x"])
async def test_a_weighting_function_with_a_mistake_ends_its_problem(fault: Any) -> None:
    method = RSD(weighting=lambda r: fault(r) if r > 0.5 else 1.0)
    ended = await collect(Session(models()).run(jobs(problems(20), method)))
    assert {t.stop_reason for t in ended} == {"eos", "error"}
    for trajectory in ended:
        if trajectory.stop_reason == "error":
            assert "weighting function" in (trajectory.error or "")
            assert trajectory.ledger.draft.calls > 0, "what was spent is not lost"


async def test_a_mistake_of_a_method_ends_its_problem() -> None:
    @dataclass(frozen=True)
    class Faulty:
        roles = frozenset({Role.TARGET})

        def __call__(self, problem: Problem, *, seed: int = 0, sample: int = 0) -> Decoding:
            trajectory = yield from Single()(problem, seed=seed, sample=sample)
            if problem.id == "1":
                raise KeyError("bug")
            return trajectory

    ended = by_id(await collect(Session(models()).run(jobs(problems(3), Faulty()))))
    assert [ended[str(i), 0].stop_reason for i in range(3)] == ["eos", "error", "eos"]
    assert ended["1", 0].error == "the method Faulty failed: KeyError: 'bug'"
    assert ended["1", 0].steps == drive(Single()(problems(2)[1]), models()).steps


async def test_nothing_to_do() -> None:
    assert await collect(Session(models()).run([])) == []


def test_impossible_options() -> None:
    with pytest.raises(ValueError, match="concurrency 0 must be at least 1"):
        Session(models(), concurrency=0)
    with pytest.raises(ValueError, match="queue_limit -1"):
        Session(models(), queue_limit=-1)
    for limit in (0, -1.0, float("nan")):
        with pytest.raises(ValueError, match=f"deadline_s {limit!r} must be a positive number"):
            Job(problems(1)[0], RSD(), deadline_s=limit)


async def test_models_are_checked_when_a_problem_is_submitted() -> None:
    session = Session(Models(draft=models().draft, reward=models().reward))
    with pytest.raises(ConfigError, match="--target"):
        session.submit(problems(1)[0], RSD())
    assert (await session.submit(problems(1)[0], Single(Role.DRAFT)).result()).finished


async def test_a_session_belongs_to_one_event_loop() -> None:
    session = Session(models())
    await session.submit(problems(1)[0], RSD()).result()

    async def elsewhere() -> None:
        session.submit(problems(1)[0], RSD())

    with pytest.raises(RuntimeError, match="belongs to the event loop"):
        await asyncio.to_thread(asyncio.run, elsewhere())


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
    await collect(Session(both, concurrency=2).run(jobs(some, RSD())))
    assert sorted(keeping.over) == [f"{problem.id}/0" for problem in some]
    both.clear()
    assert keeping.over == []
