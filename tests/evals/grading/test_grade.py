from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from rsdecode.core.types import FinishReason, Problem, Role, Segment, Step, Trajectory
from rsdecode.evals.grading import AnswerKind, Rule, grade, grade_at_once, is_correct

MARKS = ("\\boxed", "answer is", "answer:", "Answer:", "####", "\n")


class Pair(NamedTuple):
    kind: AnswerKind
    answer: str
    reference: str
    right: bool

    @property
    def text(self) -> str:
        """The answer as a response would give it."""
        stated = any(mark in self.answer for mark in MARKS)
        return self.answer if stated else f"So it is \\boxed{{{self.answer}}}."


def pairs() -> list[Pair]:
    found: list[Pair] = []
    kind = AnswerKind.MATH
    for line in Path(__file__).with_name("pairs.tsv").read_text("utf-8").splitlines():
        match line.split("\t"):
            case [answer, reference, ("right" | "wrong") as verdict]:
                answer = answer.replace("\\n\\n", "\n\n")
                found.append(Pair(kind, answer, reference, verdict == "right"))
            case [heading] if heading.startswith("["):
                kind = AnswerKind(heading.strip("[]"))
            case _:
                assert line.startswith("#") or not line, line
    return found


PAIRS = pairs()
TEXTS = [
    json.loads(line)
    for line in Path(__file__).with_name("texts.jsonl").read_text("utf-8").splitlines()
]


def test_there_are_enough_pairs_of_both_verdicts() -> None:
    assert len(set(PAIRS)) == len(PAIRS) >= 2000
    assert sum(not p.right for p in PAIRS) >= len(PAIRS) / 3
    assert len(TEXTS) >= 480
    assert sum(not text["correct"] for text in TEXTS) >= len(TEXTS) / 3


@pytest.mark.parametrize("pair", PAIRS, ids=lambda p: f"{p.answer} = {p.reference}")
def test_pairs(pair: Pair) -> None:
    verdict = grade(pair.text, pair.reference, pair.kind)
    assert verdict.correct is pair.right, verdict
    assert verdict.rule in list(Rule)


@pytest.mark.parametrize("case", TEXTS, ids=lambda c: f"{c['text']} = {c['reference']}")
def test_whole_texts(case: dict[str, Any]) -> None:
    verdict = grade(case["text"], case["reference"])
    assert verdict.correct is case["correct"], verdict


@pytest.mark.parametrize(
    ("text", "reference", "kind", "rule"),
    [
        (r"\boxed{x}", "x", AnswerKind.MATH, Rule.IDENTICAL),
        (r"\boxed{0.5}", r"\frac12", AnswerKind.MATH, Rule.NUMERIC),
        (r"\boxed{B}", r"\text{(C)}", AnswerKind.MATH, Rule.CHOICE),
        (r"\boxed{west}", r"\text{east}", AnswerKind.MATH, Rule.TEXT),
        (r"\boxed{no real solution}", "x^2", AnswerKind.MATH, Rule.TEXT),
        ("I do not know.", "x^2", AnswerKind.MATH, Rule.NO_ANSWER),
        (r"\boxed{}", "5", AnswerKind.MATH, Rule.NO_ANSWER),
        (r"\boxed{5}", "", AnswerKind.MATH, Rule.NO_REFERENCE),
        (rf"\boxed{{{'x+' * 1000}x}}", "y", AnswerKind.MATH, Rule.TOO_LONG),
        (r"\boxed{x}", "5", AnswerKind.NUMBER, Rule.UNREADABLE),
        (r"\boxed{42}", "B", AnswerKind.CHOICE, Rule.UNREADABLE),
        ("", "B", AnswerKind.CHOICE, Rule.NO_ANSWER),
    ],
)
def test_what_needs_no_formula_is_told_at_once(
    text: str, reference: str, kind: AnswerKind, rule: Rule
) -> None:
    verdict = grade_at_once(text, reference, kind)
    assert verdict is not None
    assert verdict.rule == rule
    assert verdict.correct is (rule in (Rule.IDENTICAL,) or text == r"\boxed{0.5}")


def test_formulas_are_not_told_at_once() -> None:
    assert grade_at_once(r"\boxed{x+1}", "1+x", AnswerKind.MATH) is None
    assert grade(r"\boxed{x+1}", "1+x").rule == Rule.SYMBOLIC
    assert not grade(r"\boxed{\frac{1}", "1+x").correct


def test_a_verdict_says_what_was_compared() -> None:
    verdict = grade("Long.\n#### 1,234", "Short.\n#### 1235", AnswerKind.NUMBER)
    assert verdict == (type(verdict))(False, "1234", "1235", Rule.NUMERIC)


def test_numbers_words_and_letters_need_no_math_verify() -> None:
    code = (
        "import sys\n"
        "from rsdecode.evals.grading import AnswerKind, GradingPool, grade\n"
        "import asyncio\n"
        "with GradingPool() as pool:\n"
        "    assert asyncio.run(pool.grade('\\\\boxed{7}', '7', AnswerKind.NUMBER)).correct\n"
        "assert grade('\\\\boxed{0.5}', '1/2').correct\n"
        "assert not {'sympy', 'math_verify', 'datasets', 'torch'} & sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


@pytest.mark.parametrize(
    "junk",
    [
        r"'\\boxed{' * 150_000",
        r"'\\frac{1}{' * 100_000",
        "'answer is ' * 100_000",
        "'1,' * 500_000",
        "'9' * 1_000_000",
        "' ' * 1_000_000",
        "'$' * 1_000_000",
        "'\\x00\\ud800' * 500_000",
        "'(' * 1_000_000 + 'answer: (A'",
    ],
)
def test_a_megabyte_of_junk_is_wrong(junk: str) -> None:
    """Quadratic time, in any of the patterns, would be minutes."""
    text = eval(junk)
    started = time.perf_counter()
    assert not any(grade(text, "7", kind).correct for kind in AnswerKind)
    assert time.perf_counter() - started < 20


def test_the_answer_is_looked_for_in_the_tail() -> None:
    assert grade("x" * 1_000_000 + r" \boxed{7}", "7").correct
    assert not grade(r"\boxed{7}" + "x" * 1_000_000, "7").correct


def ended(text: str, reason: FinishReason, reference: str | None = "5") -> Trajectory:
    step = Step(Segment(text), Role.DRAFT, reason)
    return Trajectory(Problem.ask("?", answer=reference), (step,), reason)


def test_only_an_answer_that_ended_can_be_right() -> None:
    assert is_correct(ended(r"So \boxed{5}.", FinishReason.EOS))
    assert is_correct(ended(r"So \boxed{5.0}.", FinishReason.EOS))
    assert not is_correct(ended(r"So \boxed{6}.", FinishReason.EOS))
    assert not is_correct(ended(r"So \boxed{5}.", FinishReason.LENGTH))
    assert not is_correct(ended(r"So \boxed{5}.", FinishReason.MAX_STEPS))
    assert not is_correct(ended("no answer", FinishReason.EOS))
    assert not is_correct(ended(r"So \boxed{5}.", FinishReason.EOS, None))
