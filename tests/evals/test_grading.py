from __future__ import annotations

import pytest

from rsdecode.core.types import FinishReason, Problem, Role, Segment, Step, Trajectory
from rsdecode.evals.grading import is_correct, same_answer


@pytest.mark.parametrize(
    ("answer", "reference", "same"),
    [
        ("42", "42", True),
        ("42.0", "42", True),
        ("1,042", "1042", True),
        (" 7 ", "7", True),
        ("1/2", "0.5", True),
        ("-3", "3", False),
        ("43", "42", False),
        ("blue", "blue", True),
        ("blue", "Blue", False),
        ("1/0", "1/0", True),
        ("", "0", False),
    ],
)
def test_same_answer(answer: str, reference: str, same: bool) -> None:
    assert same_answer(answer, reference) is same


def ended(text: str, reason: FinishReason, reference: str | None = "5") -> Trajectory:
    step = Step(Segment(text), Role.DRAFT, reason)
    return Trajectory(Problem.ask("?", answer=reference), (step,), reason)


def test_only_an_answer_that_ended_can_be_right() -> None:
    assert is_correct(ended(r"So \boxed{5}.", FinishReason.EOS))
    assert not is_correct(ended(r"So \boxed{6}.", FinishReason.EOS))
    assert not is_correct(ended(r"So \boxed{5}.", FinishReason.LENGTH))
    assert not is_correct(ended(r"So \boxed{5}.", FinishReason.MAX_STEPS))
    assert not is_correct(ended("no answer", FinishReason.EOS))
    assert not is_correct(ended(r"So \boxed{5}.", FinishReason.EOS, None))
