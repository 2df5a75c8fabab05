from __future__ import annotations

from typing import Any

import pytest

from rsdecode.training.selection import Candidate, candidates


def step(text: str, reward: float | None, *rejected: tuple[str, float, str]) -> dict[str, Any]:
    drafts = [{"text": t, "reward": r, "finish_reason": reason} for t, r, reason in rejected]
    return {"text": text, "reward": reward, "rejected": drafts, "accepted": reward is not None}


def record(*steps: dict[str, Any], right: bool, **changes: Any) -> dict[str, Any]:
    whole = {"id": "q", "steps": list(steps), "grade": {"correct": right}, "error": None}
    return whole | {"stop_reason": "eos"} | changes


@pytest.mark.parametrize(("right", "distance"), [(True, 0.3), (False, 0.7)])
def test_an_answer_tells_as_much_as_its_lowest_reward_is_from_its_outcome(
    right: bool, distance: float
) -> None:
    found = list(candidates(record(step("a", 0.9), step("b", 0.7), step("c", None), right=right)))
    assert found == [Candidate(pytest.approx(distance), "q", ("a", "b", "c"), True, right)]


def test_a_rejected_draft_is_told_by_the_doubt_about_it_and_a_cut_one_is_no_step() -> None:
    own = step("b", None, ("x", 0.6, "stop"), ("y", 0.1, "stop"), ("cut", 0.5, "step_limit"))
    first, second = candidates(record(step("a", None), own, right=True))
    assert first == Candidate(pytest.approx(0.4), "q", ("a", "x"), False, None)
    assert second == Candidate(pytest.approx(0.1), "q", ("a", "y"), False, None)


def test_an_answer_that_failed_or_was_not_graded_has_no_outcome() -> None:
    assert not list(candidates(record(step("a", 0.9), right=False, error="broken")))
    assert not list(candidates(record(step("a", 0.9), right=False, grade=None)))
