"""Ratios, 3:4, and times of day, 12:30, which look alike."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from rsdecode.core.numbers import read_number
from rsdecode.evals.grading.notation import unwrapped

_CLOCK = re.compile(
    r"(?P<hour>\d{1,2})(?::(?P<minute>[0-5]\d)(?::(?P<second>[0-5]\d))?)?"
    r"\s*(?P<half>[ap]\.?\s*m\.?|noon|midnight|o'clock)?",
    re.IGNORECASE,
)
_TO = re.compile(r"(\d+)\s+to\s+(\d+)(?:\s+to\s+(\d+))?")
_PARTS = re.compile(r"[^:|<>=,;]{1,60}(?::[^:|<>=,;]{1,60}){1,4}")


class _Clock(NamedTuple):
    """A time of day; `sure` where its half of the day is named, `whole` for a mere number."""

    hour: int
    minute: int
    second: int
    sure: bool
    whole: bool


def is_ratio(text: str) -> bool:
    """Whether a text is a ratio or a time: numbers or formulas with colons between them."""
    clock = _clock(text)
    return _parts(text) is not None or (clock is not None and clock.sure)


def same_ratio(a: str, b: str, same: Callable[[str, str], bool]) -> bool:
    """Whether two ratios are the same; what looks like a time only equals the same time."""
    given, wanted = clocks = _clock(a), _clock(b)
    if given and wanted:
        return _same_time(given, wanted)
    one, other = _parts(a), _parts(b)
    if one is None or other is None:
        parts, value = (one, b) if one else (other, a)
        clock = given or wanted
        if parts is None or len(parts) != 2 or (clock and clock.sure):
            return False
        number = read_number(unwrapped(value))
        value = f"{number.value / (100 if number.percent else 1)}" if number else value
        return _proportional(parts[0], parts[1], value, "1", same)
    if any(clocks) or len(one) != len(other):
        return False
    return all(
        _proportional(one[0], one[at], other[0], other[at], same) for at in range(1, len(one))
    )


def _same_time(a: _Clock, b: _Clock) -> bool:
    """The same time; one of the halves of the day may be left out, of hours up to twelve."""
    if a[1:3] != b[1:3] or not (a.sure or b.sure or a.whole == b.whole):
        return False
    if a.sure != b.sure:
        named, bare = (a, b) if a.sure else (b, a)
        return bare.hour in (named.hour, named.hour % 12 or 12)
    return a.hour == b.hour


def _proportional(a: str, b: str, c: str, d: str, same: Callable[[str, str], bool]) -> bool:
    numbers = [read_number(part) for part in (a, b, c, d)]
    if all(number is not None for number in numbers):
        p, q, r, s = (number.value for number in numbers if number is not None)
        return p * s == q * r and (p == 0) == (r == 0) and (q == 0) == (s == 0)
    return same(rf"({a})\cdot({d})", rf"({b})\cdot({c})")


def _parts(text: str) -> list[str] | None:
    text = unwrapped(text).strip()
    if to := _TO.fullmatch(text):
        return [part for part in to.groups() if part]
    if (
        not _PARTS.fullmatch(text)
        or "{" in text.replace(r"\sqrt{", "").replace(r"\frac{", "").partition(":")[0][-1:]
    ):
        return None
    parts = [part.strip() for part in text.split(":")]
    balanced = all(part.count("{") == part.count("}") for part in parts)
    return (
        parts
        if balanced
        and all(parts)
        and not re.search(r"[A-Za-z]{4,}", re.sub(r"\\[A-Za-z]+", "", text))
        else None
    )


def _clock(text: str) -> _Clock | None:
    """The time of day that a text is, or the hour that a number may be."""
    found = _CLOCK.fullmatch(unwrapped(text).strip())
    if found is None:
        return None
    hour, half = int(found["hour"]), (found["half"] or "").lower()[:1]
    half = {"n": "p", "m": "a", "o": ""}.get(half, half)
    if half:
        hour = hour % 12 + 12 * (half == "p")
    whole = not (found["minute"] or found["half"])
    return _Clock(hour, int(found["minute"] or 0), int(found["second"] or 0), bool(half), whole)
