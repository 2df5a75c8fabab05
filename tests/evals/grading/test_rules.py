"""The verdict says which rule decided."""

from __future__ import annotations

import pytest

from rsdecode.evals.grading import Rule, grade


@pytest.mark.parametrize(
    ("answer", "reference", "rule", "correct"),
    [
        ("x", "{x}", Rule.IDENTICAL, True),
        (r"10\,000", "10000.0", Rule.NUMERIC, True),
        ("52_9", "52_8", Rule.NUMERIC, False),
        (r"3 \text{ kg}", r"3 \text{ km}", Rule.UNITS, False),
        (r"\pi \text{ m}", r"100\pi \text{ cm}", Rule.UNITS, True),
        ("4:6", "2:3", Rule.RATIO, True),
        ("2:5", "12:30", Rule.RATIO, False),
        (r"\text{(D) }", "D", Rule.CHOICE, True),
        (r"\text{no solutions}", r"\varnothing", Rule.TEXT, True),
        ("2, 1", "1, 2", Rule.PARTS, True),
        ("1, 2", "1, 1, 2", Rule.PARTS, False),
        (r"x < 2", r"(-\infty, 2)", Rule.REGION, True),
        (r"n\pi", r"2k\pi", Rule.FAMILY, False),
        ("1+x", "x+1", Rule.SYMBOLIC, True),
        (r"\frac{}{x}", "x+1", Rule.UNREADABLE, False),
    ],
)
def test_rules(answer: str, reference: str, rule: Rule, correct: bool) -> None:
    verdict = grade(rf"\boxed{{{answer}}}", reference)
    assert (verdict.rule, verdict.correct) == (rule, correct)


def test_brackets_in_brackets_end() -> None:
    deep = "(" * 400 + "x" + ")" * 400
    assert not grade(rf"\boxed{{{deep}}}", "x < 2").correct
    assert not grade(rf"\boxed{{{deep}}}", "y+1").correct
