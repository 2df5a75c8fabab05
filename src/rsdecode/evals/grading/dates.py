"""Days of the year: `July 4`, `July 4th, 2024`, `4 July 2024`."""

from __future__ import annotations

import re

from rsdecode.evals.grading.notation import tidy, unwrapped

_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_DATE = re.compile(
    r"(?:[a-z]{3,6}day,?\s+)?(?:(?P<month>[a-z]{3,9})\.?\s+(?:the\s+)?(?P<day>\d{1,2})(?:st|nd|rd|th)?"
    r"|(?:the\s+)?(?P<day2>\d{1,2})(?:st|nd|rd|th)?\s+(?:of\s+)?(?P<month2>[a-z]{3,9})\.?)"
    r"(?:,?\s+(?P<year>\d{4}))?"
)


def same_date(answer: str, reference: str) -> bool | None:
    """Whether two texts name the same day; None where one of them names none.

    The year may be left out.
    """
    a, b = _date(answer), _date(reference)
    if a is None or b is None:
        return None
    return a[:2] == b[:2] and (not a[2] or not b[2] or a[2] == b[2])


def _date(text: str) -> tuple[int, int, str] | None:
    found = _DATE.fullmatch(unwrapped(tidy(text)).lower())
    if found is None:
        return None
    month = (found["month"] or found["month2"])[:3]
    if month not in _MONTHS:
        return None
    return _MONTHS.index(month), int(found["day"] or found["day2"]), found["year"] or ""
