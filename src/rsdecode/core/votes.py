"""Majority votes over final answers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from rsdecode.core.numbers import match_number, plain_number_text, read_number
from rsdecode.core.units import read_unit

_SPACING = re.compile(r"\\[,;:! ]|\\(?:left|right)(?![A-Za-z])|[\s$]")
_TEXT = re.compile(r"\\(?:text|textbf|mathrm|mbox)\s*\{([^{}]*)\}")
_WORDS = re.compile(r"[A-Za-z][A-Za-z' -]{2,}")
_NAMED = re.compile(r"[A-Za-z](?:_\{?\w\}?)?\s*=\s*(?=[^=]*$)")
_LONGEST_NUMBER = 100


def normal_form(answer: str) -> str:
    r"""A text that is the same for answers that are the same but for how they are written.

    White space, `$`, spacing commands and a full stop at the end do not count, nor do the capitals
    of words; numbers are compared by value, so 1,000 and 1000.0 agree, and 0.5, 1/2 and
    \frac{1}{2}, whether they are boxed with a unit or as `x = 5`.
    """
    plain = _TEXT.sub(r" \1", answer).replace("$", " ").strip().rstrip(".").strip()
    if len(plain) <= _LONGEST_NUMBER:
        plain = _NAMED.sub("", plain.replace("\\dfrac", "\\frac").replace("\\tfrac", "\\frac"))
        if (value := _value(plain)) is not None:
            return value
    text = _SPACING.sub("", plain)
    text = text.replace("\\dfrac", "\\frac").replace("\\tfrac", "\\frac")
    return text.lower() if _WORDS.fullmatch(plain) else text


def tally(answers: Sequence[str | None]) -> list[int | None]:
    """How many votes the answer of each sample has; None for a sample that does not vote."""
    forms = [None if answer is None else normal_form(answer) for answer in answers]
    counts = Counter(forms)
    return [None if form is None else counts[form] for form in forms]


def _value(text: str) -> str | None:
    """The value of a number, which may have a percent sign or a known unit behind it."""
    number = read_number(text)
    if number is None:
        text = plain_number_text(text)
        found = match_number(text)
        unit = read_unit(text[found[1] :].lstrip()) if found else None
        if found is None or unit is None or not unit.kind or unit.words:
            return None
        if len(text[found[1] :].strip()) < 2 or not text[found[1] :].startswith(" "):
            return None
        number = found[0]
    return f"{number.value}%" if number.percent else str(number.value)
