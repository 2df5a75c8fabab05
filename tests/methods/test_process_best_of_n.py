from __future__ import annotations

import pytest

from rsdecode.core.errors import RequestError
from rsdecode.core.limits import Limits
from rsdecode.core.requests import Sampling, Score
from rsdecode.core.types import FinishReason, Ledger, Proposal, Role, Segment, Step, Usage
from rsdecode.methods import ProcessBestOfN
from tests.methods.play import EOS, LENGTH, PROBLEM, STEP_LIMIT, STOP, generates, play, reward, text

TWO = ProcessBestOfN(2)


def test_the_best_candidate_of_each_step_enters() -> None:
    asked, trajectory = play(
        TWO(PROBLEM, sample=1),
        [text("a\n\n", STOP), text("b\n\n", STOP, 2)],
        [reward(0.2), reward(0.6)],
        [text("c"), text("d")],
        [reward(0.5), reward(0.5)],
    )
    assert trajectory.steps == (
        Step(Segment("b\n\n"), Role.DRAFT, STOP, 0.6, None, True,
             (Proposal("a\n\n", 0.2, STOP, 3),), 2),
        Step(Segment("c"), Role.DRAFT, EOS, 0.5, None, True, (Proposal("d", 0.5, EOS, 3),), 3),
    )  # fmt: skip
    assert trajectory.stop_reason is EOS
    assert trajectory.ledger == Ledger(
        draft=Usage(40, 0, 11, 4, 2.0, 80), reward=Usage(28, 4, 0, 4)
    )
    assert [r.session for r in generates(asked[2])] == ["p/1/0", "p/1/1"]
    assert [r.session for r in asked[3] if isinstance(r, Score)] == ["p/1/0", "p/1/1"]
    assert len({r.seed for requests in asked for r in generates(requests)}) == 4
    assert generates(asked[2])[0].context.answer == (Segment("b\n\n"),)


def test_a_cut_candidate_is_not_scored_and_loses_to_any_that_was() -> None:
    _, trajectory = play(TWO(PROBLEM), [text("cut", STEP_LIMIT), text("b")], [reward(0.0)])
    assert trajectory.text == "b"
    assert trajectory.steps[0].rejected == (Proposal("cut", None, STEP_LIMIT, 3),)


def test_if_all_were_cut_the_first_enters_and_is_continued() -> None:
    _, trajectory = play(
        TWO(PROBLEM),
        [text("a ", STEP_LIMIT), text("b", STEP_LIMIT)],
        [text("c"), text("d")],
        [reward(0.1), reward(0.9)],
    )
    assert [(s.text, s.reward, s.finish_reason) for s in trajectory.steps] == [
        ("a ", None, STEP_LIMIT),
        ("d", 0.9, EOS),
    ]


def test_a_full_context_ends_the_answer() -> None:
    _, trajectory = play(TWO(PROBLEM), [text("a", LENGTH), text("b", LENGTH)])
    assert (trajectory.text, trajectory.stop_reason) == ("a", LENGTH)


def test_an_empty_end_inherits_the_reward_of_the_step_before() -> None:
    _, trajectory = play(
        TWO(PROBLEM),
        [text("a\n\n", STOP), text("b\n\n", STOP)],
        [reward(0.7), reward(0.6)],
        [text(""), text("c")],
        [reward(0.5)],
    )
    assert [(s.text, s.reward) for s in trajectory.steps] == [("a\n\n", 0.7), ("", 0.7)]


def test_limits() -> None:
    method = ProcessBestOfN(2, limits=Limits(max_steps=2, max_step_tokens=5, max_tokens=7))
    asked, trajectory = play(
        method(PROBLEM),
        [text("a\n\n", STOP, 4), text("b\n\n", STOP)], [reward(0.7), reward(0.6)],
        [text("c\n\n", STOP, 2), text("d\n\n", STOP)], [reward(0.7), reward(0.6)],
    )  # fmt: skip
    assert [r.max_tokens for requests in asked for r in generates(requests)] == [5, 5, 3, 3]
    assert trajectory.stop_reason is FinishReason.MAX_STEPS


def test_a_failure_keeps_the_steps_before_it() -> None:
    _, trajectory = play(
        TWO(PROBLEM),
        [text("a\n\n", STOP), text("b\n\n", STOP)],
        [reward(0.7), reward(0.6)],
        RequestError("broken"),
    )
    assert (trajectory.text, trajectory.stop_reason) == ("a\n\n", FinishReason.ERROR)


def test_impossible_options() -> None:
    with pytest.raises(ValueError, match="greedy draft"):
        ProcessBestOfN(2, sampling=Sampling())
    assert TWO.roles == {Role.DRAFT, Role.REWARD}
