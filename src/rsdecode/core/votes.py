"""Majority votes over final answers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction

_SPACING = re.compile(r"\\[,;:! ]|\\(?:left|right)(?![A-Za-z])|[\s$]")
_FRACTION = re.compile(r"\\[dt]?frac\{(-?\d+)\}\{(-?\d+)\}")
_NUMBER = re.compile(r"[+-]?(?:\d[\d,]*)?(?:\.\d*)?(?:/\d+)?")
_LONGEST_NUMBER = 100


def normal_form(answer: str) -> str:
    r"""A text that is the same for answers that are the same but for how they are written.

    White space, `$`, spacing commands, capitals and a full stop at the end do not count; numbers
    are compared by value, so 1,000 and 1000.0 agree, and 0.5, 1/2 and \frac{1}{2}.
    """
    text = _SPACING.sub("", answer).rstrip(".").lower()
    text = text.replace("\\dfrac", "\\frac").replace("\\tfrac", "\\frac")
    number = _FRACTION.sub(r"\1/\2", text)
    if len(number) <= _LONGEST_NUMBER and _NUMBER.fullmatch(number):
        try:
            return str(Fraction(number.replace(",", "")))
        except (ValueError, ZeroDivisionError):
            return text
    return text


def tally(answers: Sequence[str | None]) -> list[int | None]:
    """How many votes the answer of each sample has; None for a sample that does not vote."""
    forms = [None if answer is None else normal_form(answer) for answer in answers]
    counts = Counter(forms)
    return [None if form is None else counts[form] for form in forms]
