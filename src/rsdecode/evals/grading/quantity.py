r"""Numbers with what they count: 1,234, 3/4, 1\frac{1}{2}, 5 \times 10^3, 25%, 5 km, \$18."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise

from rsdecode.core.last_formula import is_curve
from rsdecode.core.number_words import number_in_words
from rsdecode.core.numbers import LONGEST, Number, match_number, plain_number_text, terminates
from rsdecode.core.units import Unit, convert, read_unit, same_kind, unit_named
from rsdecode.evals.grading.notation import tidy, unwrapped, without_braces

_CURRENCY = re.compile(
    r"\s*(?P<sign>-?)\s*(?P<mark>(?:US)?(?:\\\$|\$(?![^$]*\$))|[€£¥₹]|\\pounds|(?:\\text\s*\{\s*)?(?:USD|Rs\.?|EUR)\s*\}?)"
    r"\s*(?=[\d.])"
)
_CURRENCIES = {
    "€": "euros", "EUR": "euros", "£": "gbp", r"\pounds": "gbp", "¥": "yen", "₹": "rupees",
    "Rs": "rupees",
}  # fmt: skip
_AFTER = re.compile(
    r"""(?:
        \s*(?P<percent>percent(?:age)?)
      | \s*\^\\circ\s*(?P<degree>[CFK]?)
      | \s*-?(?P<tight>(?:mm|cm|dm|km|kg|mg|ml|mL|lbs?|ft|mph|ms|nm|hrs?|mins?)\b
            (?:[A-Za-z\s./]|\^\s*\{?-?\d\}?)*)
      | \s*(?P<mark>[€£¥₹]|/\s*[A-Za-z]{2,}[A-Za-z\s]*)
      | \s+(?P<phrase>(?:[A-Za-z]{2,}|[mgsLhKJWNtlCF](?=\s*[\^/]|\s+[A-Za-z]+\s*\^|$))
            (?:[A-Za-z\s./·*-]|\^\s*\{?-?\d\}?)*)
    )?\s*""",
    re.VERBOSE,
)
_MATHEMATICS = {
    "pi", "sqrt", "or", "and", "log", "ln", "sin", "cos", "tan", "mod", "times", "to", "if", "for",
    "where", "when", "is", "with", "as", "plus", "minus", "infty", "than", "but",
}  # fmt: skip
_SCALES = {
    "dozen": 12, "hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9,
    "trillion": 10**12,
}  # fmt: skip
_ARC = re.compile(
    r"(?P<sign>-?)(?P<degrees>\d+(?:\.\d+)?)\s*\^\\circ\s*(?:(?P<minutes>\d+(?:\.\d+)?)\s*(?:'|\^\\prime|\^\{\\prime\})\s*)"
    r"(?:(?P<seconds>\d+(?:\.\d+)?)\s*(?:''|\"|\^\{?\\prime\\prime\}?)\s*)?"
)
_FEET = re.compile(r"^(\d+)\s*'\s*(\d+)\s*(?:''|\")$")
_PARTS = re.compile(r"(?:^|\s*,?\s*(?:and\s+)?)(\d+(?:\.\d+)?)\s*([A-Za-z]+\.?)")
_ASSIGNED = re.compile(r"(?:[^,;]*[^<>!:,;\\]\s*)?(?:=|\\approx(?![A-Za-z])|≈)([^=]*)")
_SEVERAL = re.compile(r"(?<![A-Za-z\\])(?:or|and)(?![A-Za-z])|\\(?:lor|land|vee|wedge)(?![A-Za-z])")
_NAMED = re.compile(r"(?:[A-Za-z](?:_\{?\w+\}?)?(?:\([A-Za-z\d]+\))?)?\s*(?:=|\\approx)")
_UNIT = re.compile(
    r"\s*\\(?:text(?:rm|normal)?|mathrm|mbox|operatorname)\s*\{\s*(?P<words>[A-Za-z][A-Za-z\s./^\d-]*)\}"
    r"(?P<power>\s*\^\s*(?:\d|\{\s*-?\d\s*\}))?\s*$"
)
_TIGHT_UNIT = re.compile(
    r"(?<=[\d}a-z)])\s*(?<![A-Za-z])(?<![A-Za-z]\s)((?:[mck]m|ft|kg|in|yd)|(?<=\s)m)(\s*\^\s*(?:\d|\{\s*\d\s*\}))?\s*$"
)

_FLOAT_TOLERANCE = Fraction(1, 10**6)


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number, what it is written as, and what it counts.

    Attributes:
        percent: followed by a percent sign; `value` is what stands before it.
        scale: what a word such as "million" after it multiplies it by.
        unit: None without one.
        rounded: written with a decimal point, so it may be rounded.
    """

    value: Fraction
    percent: bool = False
    scale: int = 1
    unit: Unit | None = None
    rounded: bool = False

    @property
    def values(self) -> set[Fraction]:
        """What it may mean: 25% is 25 as well as 1/4, 2 million may answer "how many million"."""
        return {self.value, self.value / 100 if self.percent else self.value * self.scale}


def quantity(text: str) -> Quantity | None:
    """The number that the text is, with its unit; None if it is anything else."""
    if len(text) > LONGEST:
        return None
    currency = _CURRENCY.match(text)
    if currency:
        found = quantity(currency["sign"] + text[currency.end() :])
        if found is None or (found.unit and found.unit.kind):
            return found
        mark = re.sub(r"\\text\s*\{|[\s}.]", "", currency["mark"])
        return replace(found, unit=read_unit(_CURRENCIES.get(mark, "dollars")))
    text = plain_number_text(without_braces(unwrapped(tidy(text), " ").strip()))
    if words := number_in_words(text):
        number, rest = words
        unit = read_unit(rest)
        known = unit is None if not rest else unit and rest.split()[0] not in _MATHEMATICS
        return Quantity(number, unit=unit) if known else None
    if (several := _in_parts(text)) is not None:
        return several
    found = match_number(text)
    after = _AFTER.fullmatch(text, found[1]) if found else None
    if found is None or after is None:
        return None
    return _counted(found[0], after)


def assigned(text: str) -> Quantity | None:
    r"""The number that the text says something equals: `x = 5`, `3 + 4 = 7`, `\approx 2.5`."""
    if _SEVERAL.search(text):
        return None
    side = _ASSIGNED.fullmatch(tidy(text))
    if side is None or is_curve(tidy(text).partition("=")[0]):
        return None
    return quantity(side.group(1))


def same_quantity(answer: Quantity, reference: Quantity) -> bool:
    """Equal exactly; rounded to six digits where one of them had to be rounded.

    Where only one side is a percentage, it may stand for itself or for its hundredth. The answer is
    turned into the unit of the reference; one of the units may be left out.
    """
    if not units_agree(answer, reference):
        return False
    if answer.unit and reference.unit and answer.unit.kind == reference.unit.kind:
        a = convert(answer.value * answer.scale, answer.unit, reference.unit)
        return _close(answer, reference, a, reference.value * reference.scale)
    if answer.percent and reference.percent:
        return _close(answer, reference, answer.value, reference.value)
    return any(_close(answer, reference, a, b) for a in answer.values for b in reference.values)


def units_agree(answer: Quantity, reference: Quantity) -> bool:
    """Whether the units do not contradict each other; of what is measured, none is a percentage."""
    for one, other in ((answer, reference), (reference, answer)):
        if one.percent and other.unit and other.unit.kind:
            return False
    if answer.unit is None or reference.unit is None:
        return True
    return same_kind(answer.unit, reference.unit)


def pair_of_numbers(answer: str, reference: str) -> tuple[Quantity, Quantity] | None:
    """Both as numbers, if both are.

    One of them may say what it is the value of: `x = 5`, and for an answer `3 + 2 = 5` as well.
    """
    a, b = quantity(answer), quantity(reference)
    if a is None and b is None:
        return None
    if b is None and _NAMED.match(tidy(reference)):
        b = assigned(reference)
    a = a or assigned(answer)
    return None if a is None or b is None else (a, b)


def unit_behind(text: str) -> tuple[str, Unit | None]:
    """A formula, and the unit behind it."""
    if found := _UNIT.search(text):
        unit = read_unit(found["words"] + (found["power"] or ""))
        if unit and found.start():
            return text[: found.start()].strip(), unit
    if (found := _TIGHT_UNIT.search(text)) and found.start():
        return text[: found.start()].strip(), read_unit(found[1] + (found[2] or ""))
    return text, None


def _counted(number: Number, after: re.Match[str]) -> Quantity | None:
    """The number with the unit that follows it."""
    percent = number.percent or after["percent"] is not None
    if after["degree"] is not None:
        name = {"C": "celsius", "F": "fahrenheit", "K": "kelvin"}.get(after["degree"], "degrees")
        return Quantity(number.value, percent, 1, read_unit(name), number.rounded)
    phrase = (after["tight"] or after["phrase"] or after["mark"] or "").strip()
    words = phrase.split()
    if words and words[0].casefold() in _MATHEMATICS:
        return None
    scale = 1
    while words and words[0].casefold().removesuffix("s") in _SCALES:
        scale *= _SCALES[words.pop(0).casefold().removesuffix("s")]
    unit = read_unit(" ".join(words)) if words else None
    return Quantity(number.value, percent, scale, unit, number.rounded)


def _in_parts(text: str) -> Quantity | None:
    """The sum of 5 hours 30 minutes, or of degrees, minutes and seconds, in its first unit."""
    if arc := _ARC.fullmatch(text):
        parts = (Fraction(arc[name] or 0) for name in ("degrees", "minutes", "seconds"))
        value = sum((part / 60**place for place, part in enumerate(parts)), Fraction(0))
        return Quantity(-value if arc["sign"] else value, unit=read_unit("degrees"))
    text = _FEET.sub(r"\1 ft \2 in", text)
    found = list(_PARTS.finditer(text))
    if len(found) < 2 or "".join(part.group() for part in found) != text:
        return None
    units = [unit_named(part[2].rstrip(".")) for part in found]
    if any(a is None or b is None or a[0] != b[0] or a[1] <= b[1] for a, b in pairwise(units)):
        return None
    first, *_ = known = [unit for unit in units if unit is not None]
    total = sum(Fraction(part[1]) * size for part, (_, size) in zip(found, known, strict=True))
    return Quantity(total / first[1], unit=read_unit(found[0][2].rstrip(".")))


def _close(one: Quantity, other: Quantity, a: Fraction, b: Fraction) -> bool:
    if a == b:
        return True
    inexact = (one.rounded and not terminates(b)) or (other.rounded and not terminates(a))
    both = one.rounded and other.rounded
    return (inexact or both) and abs(a - b) <= _FLOAT_TOLERANCE * max(abs(a), abs(b))
