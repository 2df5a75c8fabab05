r"""Numbers as people write them: 1,234, 10,\!080, 3/4, 1\frac{1}{2}, 5 \times 10^3, 25%, 5 km."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from rsdecode.evals.grading.notation import tidy, unwrapped, without_braces

_INTEGER = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)"
_DECIMAL = rf"(?:{_INTEGER}(?:\.\d*)?|\.\d+)"
_POWER = r"10\s*\^\s*(?:\{\s*(?P<power>[-+]?\d{1,3})\s*\}|(?P<digit>\d))"
_NUMBER = re.compile(
    rf"""(?P<sign>[-+])?\s*(?:
        (?:(?P<whole>\d+)\s*)?\\frac\s*(?:\{{\s*(?P<top>-?{_INTEGER})\s*\}}|(?P<top1>\d))
            \s*(?:\{{\s*(?P<bottom>{_INTEGER})\s*\}}|(?P<bottom1>\d))
      | (?:(?P<units>\d+)\s+)?(?P<over>{_DECIMAL})\s*/\s*(?P<under>{_DECIMAL})
      | (?P<decimal>{_DECIMAL})(?:[eE](?P<exponent>[-+]?\d{{1,3}})
            |\s*(?:\\times|\\cdot|\*|x)\s*{_POWER})?
    )""",
    re.VERBOSE,
)
_UNIT = re.compile(
    r"""(?:
        \s*(?P<percent>%|percent(?:age)?)
      | \s*(?P<degree>\^\\circ)\s*[CFK]?
      | (?:\s+|(?=(?:mm|cm|dm|km|kg|mg|ml|mL|lbs?|ft|mph)\b))
            (?P<word>[A-Za-z]{2,}|[mgsLhK](?=\s*[\^/]|$))
            (?P<more>(?:[A-Za-z\s./-]|\^\s*\{?-?\d\}?)*)
    )?\s*""",
    re.VERBOSE,
)
_MATHEMATICS = {"pi", "sqrt", "or", "and", "log", "ln", "sin", "cos", "tan", "mod", "times", "to"}
_SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_MEASURE = {"square": "", "sq": "", "cubic": "", "cu": "", "lb": "pound", "lbs": "pound"}
_ASSIGNED = re.compile(r"(?:[^,;]*[^<>!:,;\\]\s*)?(?:=|\\approx(?![A-Za-z])|≈)([^=]*)")
_NAMED = re.compile(r"(?:[A-Za-z](?:_\{?\w+\}?)?(?:\([A-Za-z\d]+\))?)?\s*(?:=|\\approx)")
_FLOAT_TOLERANCE = Fraction(1, 10**6)


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number, what it is written as, and what it counts.

    Attributes:
        percent: followed by a percent sign; `value` is what stands before it.
        scale: what a word such as "million" after it multiplies it by.
        unit: the first letter of its unit, "" without one.
        rounded: written with a decimal point, so it may be rounded.
    """

    value: Fraction
    percent: bool = False
    scale: int = 1
    unit: str = ""
    rounded: bool = False

    @property
    def values(self) -> set[Fraction]:
        """What it may mean: 25% is 25 as well as 1/4, 2 million may answer "how many million"."""
        return {self.value, self.value / 100 if self.percent else self.value * self.scale}


def quantity(text: str) -> Quantity | None:
    """The number that the text is, with its unit; None if it is anything else."""
    text = without_braces(unwrapped(tidy(text), " ").strip()) if len(text) <= 200 else ""
    number = _NUMBER.match(text)
    if number is None:
        return None
    unit = _UNIT.fullmatch(text, number.end())
    if unit is None or (unit["word"] or "").casefold() in _MATHEMATICS:
        return None
    try:
        value = _value(number)
    except (ValueError, ZeroDivisionError):
        return None
    rounded = "." in number.group()
    words = f"{unit['word'] or ''}{unit['more'] or ''}".casefold().split()
    scale = _SCALES.get(words[0], 1) if words else 1
    letter = "d" if unit["degree"] else _unit_letter(words if scale == 1 else words[1:])
    return Quantity(value, bool(unit["percent"]), scale, letter, rounded)


def assigned(text: str) -> Quantity | None:
    r"""The number that the text says something equals: `x = 5`, `3 + 4 = 7`, `\approx 2.5`."""
    side = _ASSIGNED.fullmatch(tidy(text))
    return quantity(side.group(1)) if side else None


def same_quantity(answer: Quantity, reference: Quantity) -> bool:
    """Equal exactly; rounded to six digits where one of them had to be rounded.

    Where only one side is a percentage, it may stand for itself or for its hundredth. Units must
    not contradict each other; one of them may be left out.
    """
    if answer.unit and reference.unit and answer.unit != reference.unit:
        return False
    if answer.percent and reference.percent:
        return _close(answer, reference, answer.value, reference.value)
    return any(_close(answer, reference, a, b) for a in answer.values for b in reference.values)


def compare_numbers(answer: str, reference: str) -> bool | None:
    """Whether two numbers are the same; None unless both are numbers.

    One of them may say what it is the value of: `x = 5`, and for an answer `3 + 2 = 5` as well.
    """
    a, b = quantity(answer), quantity(reference)
    if a is None and b is None:
        return None
    if b is None and _NAMED.match(tidy(reference)):
        b = assigned(reference)
    a = a or assigned(answer)
    return None if a is None or b is None else same_quantity(a, b)


def _close(one: Quantity, other: Quantity, a: Fraction, b: Fraction) -> bool:
    if a == b:
        return True
    inexact = (one.rounded and not _terminates(b)) or (other.rounded and not _terminates(a))
    both = one.rounded and other.rounded
    return (inexact or both) and abs(a - b) <= _FLOAT_TOLERANCE * max(abs(a), abs(b))


def _terminates(value: Fraction) -> bool:
    rest = value.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    return rest == 1


def _value(number: re.Match[str]) -> Fraction:
    part = number.groupdict()
    if part["over"] is not None:
        value = int(part["units"] or 0) + _exact(part["over"]) / _exact(part["under"])
    elif part["decimal"] is not None:
        power = part["exponent"] or part["power"] or part["digit"] or 0
        value = _exact(part["decimal"]) * Fraction(10) ** int(power)
    else:
        top, bottom = part["top"] or part["top1"], part["bottom"] or part["bottom1"]
        value = int(part["whole"] or 0) + _exact(top) / _exact(bottom)
    return -value if part["sign"] == "-" else value


def _exact(digits: str) -> Fraction:
    return Fraction(re.sub(r"[,\s]", "", digits).rstrip("."))


def _unit_letter(words: list[str]) -> str:
    """What tells two units apart: kilometers and km are one, meters another."""
    named = [_MEASURE.get(word, word) for word in words]
    return next((word[0] for word in named if word), "")
