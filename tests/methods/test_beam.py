from __future__ import annotations

import pytest

from rsdecode.core.errors import Cancelled
from rsdecode.core.limits import Limits
from rsdecode.core.requests import Sampling
from rsdecode.core.types import Alternative, FinishReason, Proposal, Role
from rsdecode.methods import Beam
from tests.methods.play import EOS, LENGTH, PROBLEM, STEP_LIMIT, STOP, generates, play, reward, text

SMALL = Beam(width=2, expansions=2)


def test_a_search_by_hand() -> None:
    asked, trajectory = play(
        SMALL(PROBLEM, seed=1),
        [text("a\n\n", STOP), text("b\n\n", STOP), text("c\n\n", STOP), text("b\n\n", STOP)],
        [reward(0.1), reward(0.8), reward(0.6)],  # the second b is the first again
        [text("d"), text("e\n\n", STOP), text("f\n\n", STOP), text("g")],
        [reward(0.5), reward(0.9), reward(0.7), reward(0.2)],
        [text("h"), text("i"), text("j"), text("k")],
        [reward(0.3), reward(0.75), reward(0.1), reward(0.6)],
    )
    assert [[s.text for s in r.context.answer] for r in generates(asked[2])] == [
        ["b\n\n"], ["b\n\n"], ["c\n\n"], ["c\n\n"],
    ]  # fmt: skip
    assert [s.text for s in trajectory.steps] == ["b\n\n", "e\n\n", "i"]
    assert [s.reward for s in trajectory.steps] == [0.8, 0.9, 0.75]
    assert trajectory.steps[1].rejected == (Proposal("d", 0.5, EOS, 3),)
    assert trajectory.alternatives == (Alternative("c\n\nf\n\nk", EOS, score=0.6),)
    assert trajectory.stop_reason is EOS
    assert (trajectory.ledger.draft.calls, trajectory.ledger.reward.calls) == (12, 11)
    for requests in (asked[0], asked[2], asked[4]):
        assert [r.session for r in generates(requests)] == [f"p/0/{i}" for i in range(4)]
    seeds = [r.seed for requests in asked for r in generates(requests)]
    assert len(set(seeds)) == 12


def test_a_beam_that_ended_keeps_its_place_and_is_not_expanded() -> None:
    asked, trajectory = play(
        SMALL(PROBLEM),
        [text("a"), text("b\n\n", STOP), text("c\n\n", STOP), text("d\n\n", STOP)],
        [reward(0.5), reward(0.4), reward(0.1), reward(0.2)],
        [text("e"), text("f")],
        [reward(0.9), reward(0.95)],
    )
    assert len(asked) == 4
    assert trajectory.text == "b\n\nf"
    assert [(a.text, a.score) for a in trajectory.alternatives] == [("a", 0.5)]


@pytest.mark.parametrize(("aggregation", "best"), [("last", "a\n\nc"), ("min", "b\n\ne")])
def test_the_aggregation_decides(aggregation: str, best: str) -> None:
    method = Beam(2, 2, aggregation)
    _, trajectory = play(
        method(PROBLEM),
        [text("a\n\n", STOP), text("b\n\n", STOP), text("x\n\n", STOP), text("y\n\n", STOP)],
        [reward(0.3), reward(0.6), reward(0.0), reward(0.0)],
        [text("e"), text("f"), text("c"), text("d")],  # b was better than a
        [reward(0.7), reward(0.1), reward(0.9), reward(0.2)],
    )
    assert trajectory.text == best


def test_cut_candidates_are_dropped_or_else_continued_with_the_score_as_it_was() -> None:
    one = Beam(width=1, expansions=2)
    _, trajectory = play(
        one(PROBLEM),
        [text("a", STEP_LIMIT), text("b\n\n", STOP)],
        [reward(0.2)],
        [text("c ", STEP_LIMIT), text("d", STEP_LIMIT)],
        [text("e"), text("f")],
        [reward(0.4), reward(0.3)],
    )
    assert [(s.text, s.reward) for s in trajectory.steps] == [
        ("b\n\n", 0.2), ("c ", None), ("e", 0.4),
    ]  # fmt: skip


def test_an_empty_end_leaves_the_score_as_it_is() -> None:
    one = Beam(width=1, expansions=2, aggregation="product")
    _, trajectory = play(
        one(PROBLEM),
        [text("a\n\n", STOP), text("b\n\n", STOP)], [reward(0.5), reward(0.4)],
        [text(""), text("c")], [reward(0.9)],
    )  # fmt: skip
    assert [s.reward for s in trajectory.steps] == [0.5, 0.5]  # 0.5 beats 0.5 * 0.9


def test_what_did_not_end_wins_only_where_nothing_ended() -> None:
    _, trajectory = play(
        SMALL(PROBLEM),
        [text("a", LENGTH), text("b"), text("c", LENGTH), text("d", LENGTH)],
        [reward(0.0)],
    )
    assert (trajectory.text, trajectory.stop_reason) == ("b", EOS)
    method = Beam(2, 2, limits=Limits(max_steps=1))
    _, trajectory = play(
        method(PROBLEM),
        [text("a\n\n", STOP), text("b\n\n", STOP), text("c\n\n", STOP), text("d", LENGTH)],
        [reward(0.1), reward(0.3), reward(0.2)],
    )
    assert (trajectory.text, trajectory.stop_reason) == ("b\n\n", FinishReason.MAX_STEPS)


def test_a_cancelled_search_gives_its_best_beginning() -> None:
    _, trajectory = play(
        SMALL(PROBLEM),
        [text(f"{c}\n\n", STOP) for c in "abcd"],
        [reward(0.1), reward(0.3), reward(0.2), reward(0.0)],
        Cancelled("late"),
    )
    assert (trajectory.text, trajectory.stop_reason) == ("b\n\n", FinishReason.CANCELLED)


def test_options() -> None:
    assert SMALL.roles == {Role.DRAFT, Role.REWARD}
    Beam(1, 1, sampling=Sampling())
    with pytest.raises(ValueError, match="greedy draft"):
        Beam(2, 1, sampling=Sampling())
    with pytest.raises(ValueError, match="width 0"):
        Beam(0)
    with pytest.raises(ValueError, match="expansions 0"):
        Beam(2, 0)
    with pytest.raises(ValueError, match="unknown aggregation"):
        Beam(aggregation="best")
