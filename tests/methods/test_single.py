from __future__ import annotations

import pytest

from rsdecode.core.errors import Cancelled, RequestError, RsdError
from rsdecode.core.limits import Limits
from rsdecode.core.requests import Announce, Generate, Generated, Sampling
from rsdecode.core.segment import WHOLE_ANSWER, parse_boundary
from rsdecode.core.types import FinishReason, Problem, Role, Segment, Step, Trajectory, Usage
from rsdecode.methods import Single

PROBLEM = Problem.ask("q", id="p")
USED = Usage(4, 0, 6, 1, 1.0, 30)


def play(method: Single, reply: Generated) -> tuple[list[Step], Trajectory]:
    """The steps that were told, and the result."""
    decoding = method(PROBLEM, seed=3)
    [request] = next(decoding)
    assert isinstance(request, Generate)
    told: list[Step] = []
    try:
        news = decoding.send([reply])
        while True:
            told += [item.step for item in news if isinstance(item, Announce)]
            news = decoding.send([None] * len(news))
    except StopIteration as end:
        return told, end.value


def test_one_request_for_the_whole_answer() -> None:
    method = Single(Role.DRAFT, limits=Limits(max_tokens=50), sampling=Sampling(0.6))
    [request] = next(method(PROBLEM, sample=4))
    assert isinstance(request, Generate)
    assert (request.role, request.max_tokens, request.boundary) == ("draft", 50, WHOLE_ANSWER)
    assert (request.sampling, request.session) == (Sampling(0.6), "p/4")
    assert (request.context.messages, request.context.answer) == (PROBLEM.messages, ())


def test_seeds_differ_by_sample_role_and_problem() -> None:
    def seed(role: Role, problem: Problem, **keys: int) -> int:
        [request] = next(Single(role)(problem, **keys))
        assert isinstance(request, Generate)
        return request.seed

    other = Problem.ask("q", id="other")
    seeds = {
        seed(Role.TARGET, PROBLEM),
        seed(Role.DRAFT, PROBLEM),
        seed(Role.TARGET, other),
        seed(Role.TARGET, PROBLEM, seed=1),
        seed(Role.TARGET, PROBLEM, sample=1),
    }
    assert len(seeds) == 5


@pytest.mark.parametrize("role", [Role.DRAFT, Role.TARGET])
def test_the_answer_is_cut_into_steps_afterwards(role: Role) -> None:
    reply = Generated(Segment("a\n\nb\n\nc"), FinishReason.EOS, USED)
    told, trajectory = play(Single(role), reply)
    assert [step.text for step in trajectory.steps] == ["a\n\n", "b\n\n", "c"]
    assert [step.finish_reason for step in trajectory.steps] == ["stop", "stop", "eos"]
    assert all(step.source is role for step in trajectory.steps)
    assert [step.accepted for step in trajectory.steps] == [role is Role.DRAFT] * 3
    assert tuple(told) == trajectory.steps
    assert trajectory.stop_reason is FinishReason.EOS
    assert (trajectory.ledger.of(role), trajectory.seed) == (USED, 3)


def test_another_boundary() -> None:
    reply = Generated(Segment("a\nb"), FinishReason.EOS, USED)
    _, trajectory = play(Single(boundary=parse_boundary("newline")), reply)
    assert [step.text for step in trajectory.steps] == ["a\n", "b"]


@pytest.mark.parametrize("cut", [FinishReason.STEP_LIMIT, FinishReason.LENGTH])
def test_a_cut_answer_is_never_an_answer(cut: FinishReason) -> None:
    _, trajectory = play(Single(), Generated(Segment("a\n\nb"), cut, USED))
    assert trajectory.stop_reason is FinishReason.LENGTH
    assert not trajectory.finished
    assert [step.finish_reason for step in trajectory.steps] == ["stop", cut]


def test_an_empty_answer_has_no_steps() -> None:
    told, trajectory = play(Single(), Generated(Segment(""), FinishReason.EOS, USED))
    assert (told, trajectory.steps, trajectory.stop_reason) == ([], (), FinishReason.EOS)


@pytest.mark.parametrize(
    ("error", "reason"),
    [(RequestError("broken"), FinishReason.ERROR), (Cancelled("late"), FinishReason.CANCELLED)],
)
def test_failure_and_cancellation(error: RsdError, reason: FinishReason) -> None:
    decoding = Single()(PROBLEM)
    next(decoding)
    with pytest.raises(StopIteration) as end:
        decoding.throw(error)
    trajectory: Trajectory = end.value.value
    assert (trajectory.stop_reason, trajectory.error) == (reason, str(error))


def test_roles() -> None:
    assert Single().roles == {Role.TARGET}
    assert Single(Role.DRAFT).roles == {Role.DRAFT}
    with pytest.raises(ValueError, match="reward model writes no answers"):
        Single(Role.REWARD)
