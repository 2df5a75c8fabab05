from __future__ import annotations

import pytest

from rsdecode.core.errors import ConfigError
from rsdecode.training.solutions import LabelledSolution, LabelledStep
from rsdecode.training.splitting import group_of, is_held_out, split


def test_near_duplicates_are_of_one_group() -> None:
    asked = "Ben has 3 apples and buys 1,250 more. How many?"
    alike = ["ben has 7 apples,  and buys 12 more; how many", "Ben has 3 apples and buys 0.5 more."]
    assert group_of(asked) == group_of(alike[0])
    assert group_of(asked) != group_of(alike[1])
    assert group_of("Sind es 3 Äpfel?") != group_of("Sind es 3 Birnen?")


def test_the_share_is_met_by_problem_and_solutions_of_one_stay_together() -> None:
    solutions = [
        LabelledSolution(f"{n}/{k}", str(n), f"Question {'x' * n}?", (LabelledStep("a", True),))
        for n in range(1, 1001)
        for k in range(3)
    ]
    train, held_out = split(solutions, 0.2, seed=1)
    assert not {s.problem for s in train} & {s.problem for s in held_out}
    assert len(train) + len(held_out) == 3000
    assert 0.15 < len(held_out) / 3000 < 0.25
    assert split(solutions, 0.2, seed=1) == (train, held_out)
    assert split(solutions, 0.2, seed=2) != (train, held_out)
    assert split(solutions, 0.0) == (solutions, [])


def test_a_share_of_all_is_refused() -> None:
    with pytest.raises(ConfigError, match="--held-out 1 must be a share"):
        is_held_out("What?", 1.0)
