from __future__ import annotations

from fractions import Fraction

import pytest

from rsdecode.core.numbers import (
    exact,
    join_groups,
    numbers_in,
    plain_number_text,
    read_number,
    terminates,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", 7),
        ("-7", -7),
        ("−7", -7),
        ("+7", 7),
        (".5", "1/2"),
        ("−.5", "-1/2"),
        ("34.", 34),
        ("1,234,567", 1234567),
        (r"10\,000", 10000),
        (r"1\,234\,567.5", "2469135/2"),
        ("10{,}000", 10000),
        (r"11,\! 111,\! 111,\! 100", 11111111100),
        ("10\u2009000", 10000),
        ("10\u202f000", 10000),
        ("10\u00a0000", 10000),
        ("10 000", 10000),
        ("3/4", "3/4"),
        ("3⁄4", "3/4"),
        ("¾", "3/4"),
        ("2½", "5/2"),
        (r"\frac34", "3/4"),
        (r"\frac{-3}{4}", "-3/4"),
        (r"-\frac{3}{4}", "-3/4"),
        (r"1\frac{4}{5}", "9/5"),
        ("1 4/5", "9/5"),
        (r"0.\overline{3}", "1/3"),
        (r"0.1\overline{6}", "1/6"),
        (r"0.\overline{142857}", "1/7"),
        (r"0.\dot{1}4285\dot{7}", "1/7"),
        ("0.(3)", "1/3"),
        ("0.333...", "1/3"),
        ("0.1666…", "1/6"),
        (r"5 \times 10^3", 5000),
        (r"5 \cdot 10^{-3}", "1/200"),
        ("5 × 10⁻³", "1/200"),
        ("5e3", 5000),
        ("10^{5}", 100000),
        (r"25\%", 25),
    ],
)
def test_numbers(text: str, value: int | str) -> None:
    number = read_number(text)
    assert number is not None
    assert number.value == Fraction(value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "3,4",
        "1,23",
        "12,34,5",
        "1/0",
        r"\frac{1}{0}",
        "5/",
        "1.2.3",
        "3.14159...",
        "²",
        "1 2",
    ],
)
def test_what_is_no_number(text: str) -> None:
    assert read_number(text) is None


def test_what_was_written_is_kept() -> None:
    percent, rounded, repeating = map(read_number, ("25%", "0.33", r"0.\overline{3}"))
    assert percent
    assert percent.percent
    assert rounded
    assert rounded.rounded
    assert repeating
    assert not repeating.rounded


def test_groups_are_joined_and_lists_are_not() -> None:
    assert join_groups(r"10\,000 + 2") == "10000 + 2"
    assert join_groups(r"1,\,200") == r"1,\,200"
    assert join_groups("1,234") == "1,234"
    assert plain_number_text("page 3 100/200") == "page 3 100/200"
    assert plain_number_text("in 2020 100 people") == "in 2020 100 people"


def test_numbers_of_a_sentence() -> None:
    found = [n.group() for n in numbers_in("It cost 1,250.75, then .5 less, -3 at 3/4 or 3,4.")]
    assert found == ["1,250.75", ".5", "-3", "3/4", "3", "4"]


def test_exact_values() -> None:
    assert exact("1,234.50") == Fraction(2469, 2)
    assert exact("3/4") == Fraction(3, 4)
    with pytest.raises(ZeroDivisionError):
        exact("1/0")
    assert terminates(Fraction(3, 40))
    assert not terminates(Fraction(1, 3))


def test_a_huge_text_is_no_number() -> None:
    assert read_number("9" * 1_000_000) is None
    assert read_number(" " * 1_000_000) is None
