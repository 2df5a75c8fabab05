"""Grades an answer: what can be told at once, and what takes math-verify."""

from __future__ import annotations

from functools import lru_cache

from rsdecode.core.answer import TAIL, extract_answer
from rsdecode.core.thoughts import THOUGHTS, Thoughts
from rsdecode.core.types import Trajectory
from rsdecode.evals.grading.choice import letter_of, letter_stated
from rsdecode.evals.grading.compare import compare
from rsdecode.evals.grading.formulas import FormulaNeeded, Formulas, NoFormulas
from rsdecode.evals.grading.notation import final_answer
from rsdecode.evals.grading.verdict import AnswerKind, Rule, Verdict

__all__ = ["TAIL", "grade", "grade_at_once", "grade_formula", "is_correct"]


def grade(
    text: str,
    reference: str,
    kind: AnswerKind = AnswerKind.MATH,
    thoughts: Thoughts = THOUGHTS,
) -> Verdict:
    """Whether the final answer of a text is the reference, and why.

    A formula may take for ever: `GradingPool` grades with a time limit, in other processes.

    Args:
        text: a whole response, or a bare answer in a box. What follows its thoughts counts, of that
            the last `TAIL` characters.
        reference: the answer, or a solution that ends in `#### 42` or has it in a box.
        kind: how the two are compared.
        thoughts: the marks that thoughts end with.

    Raises:
        ConfigError: a formula is to be compared, and math-verify is not installed.
    """
    verdict = grade_at_once(text, reference, kind, thoughts)
    if verdict is not None:
        return verdict
    answer = extract_answer(text, thoughts)
    return grade_formula(answer or "", final_answer(reference))


def grade_at_once(
    text: str, reference: str, kind: AnswerKind, thoughts: Thoughts = THOUGHTS
) -> Verdict | None:
    """The verdict, where text and numbers decide; None where a formula must be compared."""
    wanted = final_answer(reference)
    if not wanted:
        return Verdict(False, extract_answer(text, thoughts), wanted, Rule.NO_REFERENCE)
    extracted = extract_answer(text, thoughts)
    if kind is AnswerKind.CHOICE:
        part = thoughts.answer_part(text) or ""
        return _grade_choice(part[-TAIL:], extracted, wanted)
    if not extracted:
        return Verdict(False, None, wanted, Rule.NO_ANSWER)
    try:
        rule, correct = compare(extracted, wanted, NoFormulas())
    except FormulaNeeded:
        if kind is not AnswerKind.NUMBER:
            return None
        rule, correct = Rule.UNREADABLE, False
    except RecursionError:  # brackets in brackets, hundreds of them
        rule, correct = Rule.UNREADABLE, False
    return Verdict(correct, extracted, wanted, rule)


def grade_formula(answer: str, reference: str) -> Verdict:
    """The verdict of math-verify on an answer. There is no time limit.

    Raises:
        ConfigError: math-verify is not installed.
    """
    from rsdecode.evals.grading.symbolic import UnreadableError

    try:
        rule, correct = compare(answer, reference, _formulas())
    except (UnreadableError, RecursionError):
        rule, correct = Rule.UNREADABLE, False
    return Verdict(correct, answer, reference, rule)


def is_correct(trajectory: Trajectory) -> bool:
    """Whether the model ended its answer, and it is the reference: a number, or the same text.

    A truncated answer is never right, whatever it contains.
    """
    reference = trajectory.problem.answer
    if not trajectory.finished or reference is None:
        return False
    verdict = grade_at_once(trajectory.text, reference, AnswerKind.NUMBER)
    return verdict is not None and verdict.correct


@lru_cache(maxsize=1)
def _formulas() -> Formulas:
    from rsdecode.evals.grading.symbolic import SympyFormulas

    return SympyFormulas()


def _grade_choice(tail: str, extracted: str | None, wanted: str) -> Verdict:
    letter = letter_of(extracted) if extracted else None
    letter = letter or letter_stated(tail)
    if letter is None:
        rule = Rule.UNREADABLE if extracted else Rule.NO_ANSWER
        return Verdict(False, extracted, wanted, rule)
    return Verdict(letter == letter_of(wanted), letter, wanted, Rule.CHOICE)
