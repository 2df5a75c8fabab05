from __future__ import annotations

import subprocess
import sys

import pytest

from rsdecode.core.answer import extract_answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"So \boxed{42}.", "42"),
        (r"\boxed{1} then \boxed{2}", "2"),
        (r"\boxed{\frac{1}{2}} and } more", r"\frac{1}{2}"),
        (r"\boxed{\sqrt{\frac{a}{b}} + {c}}", r"\sqrt{\frac{a}{b}} + {c}"),
        (r"\boxed { 7 }", "7"),
        (r"\fbox{yes}", "yes"),
        (r"\boxed{1 + \boxed{2}}", "2"),
        (r"\boxed{1} and \boxed{2", "1"),
        (r"\boxed{[0, 1\}} } ", r"[0, 1\}"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"} \boxed{3}", "3"),
        (r"\\boxed{4}", "4"),
        (r"The answer is 5 but \boxed{6}", "6"),
        ("12 + 3 = 15\n#### 15", "15"),
        ("#### 1,234", "1234"),
        ("The answer is 42.", "42"),
        ("the final Answer: -3.5", "-3.5"),
        ("The answer is $18 in total.", "18"),
        ("The answer is: blue.", "blue"),
        ("**Answer:** Paris", "Paris"),
        ("The answer is 1. No, the answer is 2.", "2"),
        ("We add 3 and 4 to get 7.", "7"),
        ("It costs 1,250.75 dollars", "1250.75"),
        ("about 3/4", "3/4"),
        ("nothing here", None),
        ("", None),
    ],
)
def test_answers(text: str, answer: str | None) -> None:
    assert extract_answer(text) == answer


@pytest.mark.parametrize(
    "junk",
    [r"'\\boxed{' * 150_000", r"'\\boxed{{}' * 110_000", "'{' * 1_000_000", "'}' * 1_000_000"],
)
def test_a_megabyte_of_open_boxes_takes_linear_time(junk: str) -> None:
    """Quadratic time would be hours: the time limit only ends a run that would not end."""
    code = f"from rsdecode.core.answer import extract_answer; print(extract_answer({junk}))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "None"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"\boxed{4} and \boxed{5}", "4, 5"),
        (r"\boxed{4}, \boxed{5}, and \boxed{6}", "4, 5, 6"),
        (r"$\boxed{x=4}$ or $\boxed{x=5}$", "x=4 or x=5"),
        (r"$x = \boxed{1}$ and $y = \boxed{2}$", "1, 2"),
        (r"The smaller is \boxed{4} and the larger is \boxed{5}.", "4, 5"),
        (r"First \boxed{3}, but in fact \boxed{4}.", "4"),
        (r"\boxed{3}, and the answer is \boxed{4}", "4"),
        (r"\boxed{4}. So it is \boxed{5}", "5"),
        ("\\boxed{5}\n\n\\boxed{5}", "5"),
    ],
)
def test_boxes_that_together_are_the_answer(text: str, answer: str) -> None:
    assert extract_answer(text) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("The answer is .5", ".5"),
        ("The answer is −5.", "-5"),
        ("The answer is 3,4", "3,4"),
        ("The answer is 3 miles.", "3 miles"),
        ("The answer is 5 (five) apples", "5"),
        ("The answer is 5, not 6.", "5"),
        ("The answer is not 5. The answer is 6.", "6"),
        ("**Answer**: 4. (2 methods)", "4"),
        ("The answer, therefore, is 17 (3 steps).", "17"),
        ("The answer is:\n\n$$\n42\n$$", "42"),
        ("The final answer is:\n\\[\nx = 5\n\\]", "x = 5"),
        ("The answer is\n```text\n42\n```\nIn 2 steps.", "42"),
        ("The answer is\n\n> 42", "42"),
        ('The answer is "42".', "42"),
        ("The answer is:\n- 5\n- 6", "5, 6"),
        ("## Final Answer\n\n7", "7"),
        ("| Answer | 42 |", "42"),
        ("| x | Answer |\n|---|---|\n| 3 | 9 |", "9"),
        (r"So it is $\frac12$.", r"\frac12"),
        ("So we get 2^10.", "2^10"),
        ("So the interval is (2, 5).", "(2, 5)"),
        ("She pays $5 + $3 = $8.", "8"),
        ("We use $x$ for it. It is 7.", "7"),
        ("It is 10 000 dollars.", "10000"),
    ],
)
def test_answers_without_a_box(text: str, answer: str) -> None:
    assert extract_answer(text) == answer
