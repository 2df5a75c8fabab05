"""Whether an answer is right."""

from __future__ import annotations

from fractions import Fraction

from rsdecode.core.answer import extract_answer
from rsdecode.core.types import Trajectory


def is_correct(trajectory: Trajectory) -> bool:
    """Whether the model ended its answer, and it is the reference.

    A truncated answer is never right, whatever it contains.
    """
    reference = trajectory.problem.answer
    if not trajectory.finished or reference is None:
        return False
    answer = extract_answer(trajectory.text)
    return answer is not None and same_answer(answer, reference)


def same_answer(answer: str, reference: str) -> bool:
    """Equal as numbers where both are numbers, else as text without outer white space."""
    a, b = _number(answer), _number(reference)
    if a is not None and b is not None:
        return a == b
    return answer.strip() == reference.strip()


def _number(text: str) -> Fraction | None:
    try:
        return Fraction(text.strip().replace(",", ""))
    except (ValueError, ZeroDivisionError):
        return None
