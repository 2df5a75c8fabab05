"""Says which steps of a solution are right."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

from rsdecode.core.numbers import exact
from rsdecode.models.abacus.problem import AbacusProblem

_EXPRESSION = r"\d+(?: [-+*/] \d+)*"
_EQUATION = re.compile(rf"(?<![\d/*+=-] )(?<!\d){_EXPRESSION}(?: = {_EXPRESSION})+(?! ?[-+*/=\d])")
_BOXED = re.compile(r"\\boxed\{([^{}]*)\}")


def equations(step: str) -> list[list[str]]:
    """The equations of a step, each a chain of expressions that claim to be equal."""
    return [match.group().split(" = ") for match in _EQUATION.finditer(step)]


def evaluate(expression: str) -> Fraction | None:
    """The exact value of ``a op b op ...``; None where it divides by zero."""
    total, sign = Fraction(0), 1
    product: Fraction | None = None
    operator = "*"
    for part in expression.split(" "):
        if part in {"+", "-"}:
            total += sign * (product if product is not None else 0)
            sign, product, operator = (1 if part == "+" else -1), None, "*"
        elif part in {"*", "/"}:
            operator = part
        elif product is None:
            product = exact(part)
        elif operator == "*":
            product *= exact(part)
        elif exact(part) == 0:
            return None
        else:
            product /= exact(part)
    return total + sign * (product if product is not None else 0)


def equations_hold(step: str) -> bool:
    """Whether every link of every equation of the step is true."""
    for chain in equations(step):
        values = [evaluate(expression) for expression in chain]
        if None in values or any(a != b for a, b in pairwise(values)):
            return False
    return True


def boxed(text: str) -> str | None:
    r"""What the last ``\boxed{...}`` of a text holds, or None."""
    found = _BOXED.findall(text)
    return found[-1].strip() if found else None


def step_is_right(problem: AbacusProblem, index: int, step: str) -> bool:
    """Whether a step is right, given that all steps before it are.

    A step is right when its equations hold and it arrives at the next value of the solution; the
    last step is right when it boxes the answer. How it is worded does not matter.
    """
    if not equations_hold(step):
        return False
    if index == len(problem.values):
        return boxed(step) == problem.answer
    if index > len(problem.values) or boxed(step) is not None:
        return False
    found = equations(step)
    return bool(found) and evaluate(found[-1][-1]) == problem.values[index]


def first_error(problem: AbacusProblem, steps: Sequence[str]) -> int | None:
    """The index of the first wrong step, or None.

    A solution that stops too early has no wrong step; use ``is_solved`` for whole solutions.
    """
    for index, step in enumerate(steps):
        if not step_is_right(problem, index, step):
            return index
    return None


def is_solved(problem: AbacusProblem, solution: str) -> bool:
    """Whether a whole solution ends with the right answer in its last box."""
    return boxed(solution) == problem.answer
