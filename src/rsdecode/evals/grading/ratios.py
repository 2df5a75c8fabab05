"""Ratios, 3:4, and times of day, 12:30, which look alike."""

from __future__ import annotations

import re
from collections.abc import Callable

from rsdecode.core.numbers import read_number
from rsdecode.evals.grading.notation import unwrapped

_CLOCK = re.compile(
    r"0?(\d{1,2}):([0-5]\d)(?::([0-5]\d))?\s*(?P<half>[ap]\.?\s*m\.?)?", re.IGNORECASE
)
_TO = re.compile(r"(\d+)\s+to\s+(\d+)(?:\s+to\s+(\d+))?")
_PARTS = re.compile(r"[^:|<>=,;]{1,60}(?::[^:|<>=,;]{1,60}){1,4}")


def is_ratio(text: str) -> bool:
    """Whether a text is a ratio or a time: numbers or formulas with colons between them."""
    return _parts(text) is not None


def same_ratio(a: str, b: str, same: Callable[[str, str], bool]) -> bool:
    """Whether two ratios are the same; what looks like a time only equals the same time."""
    clocks = [_clock(text) for text in (a, b)]
    one, other = (_parts(text) or _as_ratio(text) for text in (a, b))
    if any(clocks):
        given = a if clocks[1] else b
        fraction = not any(map(_parts, (a, b))) or (":" not in given and one and other)
        if not fraction:
            return clocks[0] == clocks[1]
    if one is None or other is None or len(one) != len(other):
        return False
    return all(
        _proportional(one[0], one[at], other[0], other[at], same) for at in range(1, len(one))
    )


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


def _as_ratio(text: str) -> list[str] | None:
    """A fraction as a ratio."""
    number = read_number(unwrapped(text))
    return None if number is None else [str(number.value.numerator), str(number.value.denominator)]


def _clock(text: str) -> tuple[str, ...] | None:
    found = _CLOCK.fullmatch(unwrapped(text).strip())
    if found is None:
        return None
    half = (found["half"] or "").lower().replace(".", "").replace(" ", "")
    return (found[1], found[2], found[3] or "", half)
