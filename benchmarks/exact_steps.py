"""Which steps of the embedded family's problems are right, exactly: a checker for `rsd prm label`.

rsd prm label --data abacus:test --by checker --reward python:benchmarks.exact_steps:score ...
"""

from __future__ import annotations

from functools import cache
from typing import get_args

from rsdecode.models.abacus import AbacusProblem, Split, first_error, problems

SEARCHED = 2_000
"""Problems of each split that a question is looked for among."""


def score(question: str, steps: list[str]) -> float:
    """1 if the last of the steps, and all before it, are right; else 0.

    Raises:
        KeyError: the question is none of the family's first problems.
    """
    return float(first_error(_known()[question.strip()], [step.strip() for step in steps]) is None)


@cache
def _known() -> dict[str, AbacusProblem]:
    return {
        problem.question: problem
        for split in get_args(Split)
        for problem in problems(split, limit=SEARCHED)
    }
