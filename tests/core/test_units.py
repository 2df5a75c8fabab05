from __future__ import annotations

from fractions import Fraction

import pytest

from rsdecode.core.units import convert, leading_unit, read_unit, same_kind


@pytest.mark.parametrize(
    ("value", "unit", "wanted", "converted"),
    [
        (3, "miles", "meters", "4828.032"),
        (5, "km", "cm", 500000),
        (90, "minutes", "hours", "1.5"),
        (36, "km/h", "meters per second", 10),
        (2, "square feet", "inches^2", 288),
        (1, "L", "cm^3", 1000),
        (50, "cents", "dollars", "0.5"),
        (100, "celsius", "degrees Fahrenheit", 212),
        (3, "years", "months", 36),
        (7, "days", "weeks", 1),
    ],
)
def test_conversion(value: int, unit: str, wanted: str, converted: int | str) -> None:
    a, b = read_unit(unit), read_unit(wanted)
    assert a
    assert b
    assert same_kind(a, b)
    assert convert(Fraction(value), a, b) == Fraction(converted)


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("miles", "meters", True),
        ("kg", "km", False),
        ("m", "minutes", False),
        ("cm^2", "cm", False),
        ("eggs", "duck eggs", True),
        ("apples", "oranges", False),
        ("apples", "km", False),
        ("square units", "cm^2", True),
        ("years old", "years", True),
        ("m/s", "m/s^2", False),
    ],
)
def test_kinds(a: str, b: str, same: bool) -> None:
    one, other = read_unit(a), read_unit(b)
    assert one
    assert other
    assert same_kind(one, other) is same


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("miles to school", "miles"),
        ("miles per hour.", "miles per hour"),
        ("cm^2, say", "cm^2"),
        ("in total", ""),
        ("apples", ""),
        ("a day", ""),
        ("", ""),
    ],
)
def test_the_unit_that_a_text_begins_with(text: str, unit: str) -> None:
    assert leading_unit(text) == unit


def test_no_units() -> None:
    assert read_unit("") is None
    assert read_unit("2x + 1") is None
