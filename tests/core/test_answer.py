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
