"""Grades an answer: what can be told at once, and what takes math-verify."""

from __future__ import annotations

from rsdecode.core.answer import extract_answer
from rsdecode.core.types import Trajectory
from rsdecode.evals.grading.choice import letter_of, letter_reference, letter_stated
from rsdecode.evals.grading.notation import (
    compact,
    digits_in_base,
    final_answer,
    is_prose,
    said,
    words_of,
)
from rsdecode.evals.grading.quantity import compare_numbers
from rsdecode.evals.grading.verdict import AnswerKind, Rule, Verdict

TAIL = 20_000
"""Characters at the end of a text in which its answer is looked for."""
LONGEST_ANSWER = 1_000
"""Characters of the longest answer that is compared as a formula."""


def grade(text: str, reference: str, kind: AnswerKind = AnswerKind.MATH) -> Verdict:
    """Whether the final answer of a text is the reference, and why.

    A formula may take for ever: `GradingPool` grades with a time limit, in other processes.

    Args:
        text: a whole response, or a bare answer in a box; its last `TAIL` characters count.
        reference: the answer, or a solution that ends in `#### 42` or has it in a box.
        kind: how the two are compared.

    Raises:
        ConfigError: a formula is to be compared, and math-verify is not installed.
    """
    verdict = grade_at_once(text, reference, kind)
    return verdict if verdict is not None else grade_formula(text, reference)


def grade_at_once(text: str, reference: str, kind: AnswerKind) -> Verdict | None:
    """The verdict, where text and numbers decide; None where a formula must be compared."""
    extracted, wanted = sides(text, reference)
    tail = text[-TAIL:]
    if not wanted:
        return Verdict(False, extracted, wanted, Rule.NO_REFERENCE)
    if kind is AnswerKind.CHOICE:
        return _grade_choice(tail, extracted, wanted)
    if not extracted:
        return Verdict(False, None, wanted, Rule.NO_ANSWER)
    rule, correct = _compare(extracted, wanted)
    if rule is None and kind is AnswerKind.NUMBER:
        rule, correct = Rule.UNREADABLE, False
    return None if rule is None else Verdict(correct, extracted, wanted, rule)


def sides(text: str, reference: str) -> tuple[str | None, str]:
    """The answer that a text gives, and the answer that is wanted."""
    return extract_answer(text[-TAIL:]), final_answer(reference)


def grade_formula(text: str, reference: str) -> Verdict:
    """The verdict of math-verify on the answer of a text. There is no time limit.

    Raises:
        ConfigError: math-verify is not installed.
    """
    from rsdecode.evals.grading.symbolic import same_formula

    extracted, wanted = sides(text, reference)
    same = same_formula(extracted or "", wanted)
    rule = Rule.UNREADABLE if same is None else Rule.SYMBOLIC
    return Verdict(bool(same), extracted, wanted, rule)


def is_correct(trajectory: Trajectory) -> bool:
    """Whether the model ended its answer, and it is the reference: a number, or the same text.

    A truncated answer is never right, whatever it contains.
    """
    reference = trajectory.problem.answer
    if not trajectory.finished or reference is None:
        return False
    verdict = grade_at_once(trajectory.text, reference, AnswerKind.NUMBER)
    return verdict is not None and verdict.correct


def _compare(answer: str, reference: str) -> tuple[Rule | None, bool]:
    """What text, numbers and letters say; no rule if they cannot tell."""
    if compact(answer) == compact(reference):
        return Rule.IDENTICAL, True
    if len(answer) > LONGEST_ANSWER:
        return Rule.TOO_LONG, False
    if (same := compare_numbers(answer, reference)) is not None:
        return Rule.NUMERIC, same
    if (letter := letter_reference(reference)) and (given := letter_of(answer)):
        return Rule.CHOICE, given == letter
    if (words := words_of(reference)) is not None:
        return Rule.TEXT, said(answer) == said(words)
    if is_prose(answer):
        return Rule.TEXT, False
    if (base := digits_in_base(reference)) and (number := digits_in_base(answer)):
        return Rule.NUMERIC, number == base
    return None, False


def _grade_choice(tail: str, extracted: str | None, wanted: str) -> Verdict:
    letter = letter_of(extracted) if extracted else None
    letter = letter or letter_stated(tail)
    if letter is None:
        rule = Rule.UNREADABLE if extracted else Rule.NO_ANSWER
        return Verdict(False, extracted, wanted, rule)
    return Verdict(letter == letter_of(wanted), letter, wanted, Rule.CHOICE)
