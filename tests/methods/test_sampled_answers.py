"""Majority and best-of-N: whole answers, side by side."""

from __future__ import annotations

import pytest

from rsdecode.core.errors import Cancelled, RequestError
from rsdecode.core.limits import Limits
from rsdecode.core.requests import Sampling, Score
from rsdecode.core.segment import WHOLE_ANSWER
from rsdecode.core.types import Alternative, FinishReason, Role, Usage
from rsdecode.methods import BestOfN, Majority
from tests.methods.play import EOS, LENGTH, PROBLEM, STEP_LIMIT, generates, play, reward, text

METHODS = [Majority(3), BestOfN(3)]


@pytest.mark.parametrize("method", METHODS)
def test_all_answers_are_asked_for_at_once(method: Majority | BestOfN) -> None:
    requests = generates(next(method(PROBLEM, sample=2)))
    assert [r.session for r in requests] == ["p/2/0", "p/2/1", "p/2/2"]
    assert len({r.seed for r in requests}) == 3
    assert {(r.role, r.max_tokens, r.boundary) for r in requests} == {
        (Role.DRAFT, 4096, WHOLE_ANSWER)
    }
    assert {r.sampling for r in requests} == {Sampling(0.7)}


def test_the_majority_wins_and_the_others_are_kept() -> None:
    _, trajectory = play(
        Majority(4)(PROBLEM, seed=5),
        [text("The answer is 7."), text("So\n\n#### 8"), text("#### 8.0"), text("#### 8", LENGTH)],
    )
    assert [step.text for step in trajectory.steps] == ["So\n\n", "#### 8"]
    assert [step.accepted for step in trajectory.steps] == [True, True]
    assert trajectory.alternatives == (
        Alternative("The answer is 7.", EOS, "7", 1),
        Alternative("#### 8.0", EOS, "8.0", 2),
        Alternative("#### 8", LENGTH),
    )
    assert (trajectory.stop_reason, trajectory.seed) == (EOS, 5)
    assert trajectory.ledger.draft == Usage(40, 0, 12, 4, 2.0, 80)
    assert trajectory.ledger.reward == trajectory.ledger.target == Usage()


def test_ties_go_to_the_first_and_unfinished_samples_do_not_vote() -> None:
    _, trajectory = play(
        Majority(4)(PROBLEM),
        [text("#### 9", STEP_LIMIT), text("#### 9", STEP_LIMIT), text("#### 2"), text("#### 1")],
    )
    assert trajectory.text == "#### 2"


def test_a_finished_sample_without_an_answer_beats_an_unfinished_one() -> None:
    _, trajectory = play(Majority(2)(PROBLEM), [text("#### 9", LENGTH), text("no idea")])
    assert (trajectory.text, trajectory.stop_reason) == ("no idea", EOS)


@pytest.mark.parametrize("cut", [STEP_LIMIT, LENGTH])
def test_if_none_finished_there_is_no_answer(cut: FinishReason) -> None:
    _, voted = play(Majority(2)(PROBLEM), [text("#### 9", cut), text("b", cut)])
    _, scored = play(BestOfN(2)(PROBLEM), [text("#### 9", cut), text("b", cut)])
    for trajectory in (voted, scored):
        assert (trajectory.text, trajectory.stop_reason) == ("#### 9", LENGTH)
        assert not trajectory.finished
        assert [a.text for a in trajectory.alternatives] == ["b"]


@pytest.mark.parametrize(
    ("aggregation", "best"), [("last", "b"), ("min", "c"), ("product", "c"), ("mean", "d")]
)
def test_each_aggregation_has_its_own_best(aggregation: str, best: str) -> None:
    written = [text("a\n\na"), text("b\n\nb"), text("c\n\nc"), text("d\n\nd")]
    rewards = [reward(0.5, 0.1), reward(0.1, 0.9), reward(0.6, 0.6), reward(1.0, 0.3)]
    asked, trajectory = play(BestOfN(4, aggregation)(PROBLEM), written, rewards)
    assert trajectory.text == f"{best}\n\n{best}"
    scoring = asked[1][0]
    assert isinstance(scoring, Score)
    assert [step.text for step in scoring.steps] == ["a\n\n", "a"]
    assert [r.session for r in asked[1] if isinstance(r, Score)] == [f"p/0/{i}" for i in range(4)]
    assert trajectory.ledger.reward == Usage(28, 4, 0, 4)


def test_rewards_and_scores_are_kept() -> None:
    _, trajectory = play(
        BestOfN(3)(PROBLEM),
        [text("a\n\nb"), text("c"), text("d", LENGTH)],
        [reward(0.2, 0.9), reward(0.4)],
    )
    assert [step.reward for step in trajectory.steps] == [0.2, 0.9]
    assert trajectory.alternatives == (
        Alternative("c", EOS, score=0.4),
        Alternative("d", LENGTH),
    )


def test_an_answer_without_text_loses_to_any_with_but_not_to_an_unfinished_one() -> None:
    _, trajectory = play(BestOfN(2)(PROBLEM), [text(" "), text("b")], [reward(0.0)])
    assert trajectory.text == "b"
    _, trajectory = play(BestOfN(2)(PROBLEM), [text("a", LENGTH), text("")])
    assert (trajectory.steps, trajectory.stop_reason) == ((), EOS)


@pytest.mark.parametrize("bad", [reward(0.5), reward(0.5, 1.5), reward(0.5, float("nan"))])
def test_impossible_rewards_end_the_problem(bad: object) -> None:
    _, trajectory = play(BestOfN(1)(PROBLEM), [text("a\n\nb")], [bad])  # type: ignore[list-item]
    assert trajectory.stop_reason is FinishReason.ERROR
    assert "--reward" in (trajectory.error or "")
    assert trajectory.ledger.reward.calls == 1


@pytest.mark.parametrize("method", METHODS)
def test_failure_and_cancellation(method: Majority | BestOfN) -> None:
    _, failed = play(method(PROBLEM), RequestError("broken"))
    assert (failed.stop_reason, failed.error) == (FinishReason.ERROR, "broken")
    _, cancelled = play(method(PROBLEM), Cancelled("late"))
    assert cancelled.stop_reason is FinishReason.CANCELLED


def test_impossible_options() -> None:
    for method in (Majority, BestOfN):
        with pytest.raises(ValueError, match="at least 1"):
            method(0)
        with pytest.raises(ValueError, match=r"2 samples of a greedy draft.*temperature above 0"):
            method(2, sampling=Sampling())
        method(1, sampling=Sampling(), limits=Limits())
    with pytest.raises(ValueError, match="unknown aggregation 'best'"):
        BestOfN(2, "best")


def test_roles() -> None:
    assert Majority().roles == {Role.DRAFT}
    assert BestOfN().roles == {Role.DRAFT, Role.REWARD}
