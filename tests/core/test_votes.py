from __future__ import annotations

import pytest

from rsdecode.core.votes import normal_form, tally


@pytest.mark.parametrize(
    "same",
    [
        ("1000", "1,000", "1000.0", "+1000", " 1000."),
        ("0.5", "1/2", "2/4", r"\frac{1}{2}", r"\dfrac{1}{2}", "$.5$"),
        ("-3", r"\left(-3\right)".replace(r"\left(", "").replace(r"\right)", ""), "-3.00"),
        (r"x^2 + 1", r"x^2+1", r"$x^2\,+\,1$"),
        ("Tuesday", "tuesday."),
    ],
)
def test_the_same_answer_written_differently(same: tuple[str, ...]) -> None:
    assert len({normal_form(answer) for answer in same}) == 1


@pytest.mark.parametrize(
    ("a", "b"), [("1", "-1"), ("1/2", "1/3"), ("(1,2)", "(2,1)"), ("1/0", "0"), ("", "0")]
)
def test_different_answers(a: str, b: str) -> None:
    assert normal_form(a) != normal_form(b)


def test_huge_numbers_do_no_harm() -> None:
    assert normal_form("9" * 100_000) == "9" * 100_000
    assert normal_form("1e999999999") == "1e999999999"


def test_tally() -> None:
    assert tally(["7", None, "7.0", "8"]) == [2, None, 2, 1]
    assert tally([]) == []
