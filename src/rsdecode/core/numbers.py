r"""Reads numbers as people write them. Everything that reads a number reads it here.

Understood: signs (also U+2212), thousands groups (`1,234`, `10\,000`, `10{,}000`, `10,\!080`,
thin, narrow and no-break spaces, `10 000`), a leading point, fractions (`3/4`, `\frac34`, `¾`),
mixed numbers (`1\frac{1}{2}`, `1 4/5`, `2½`), repeating decimals (`0.\overline{3}`, `0.1\dot{6}`,
`0.(3)`, `0.333...`), powers of ten (`5 \times 10^3`, `5e3`, `6 × 10⁻³`) and a percent sign. Values
are exact fractions. All patterns run in linear time on what they accept.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

INTEGER = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)"
"""Digits, perhaps in groups of three with commas."""
DECIMAL = rf"(?:{INTEGER}(?:\.\d+)?|\.\d+)"
"""An integer with or without decimals, or decimals after a leading point."""
LONGEST = 200
"""Characters of the longest text that is read as one number."""

MINUS_SIGNS = "−–‒﹣－"
SPACES = "\u00a0\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f"
"""Spaces that are no line breaks; typesetters put them between groups of digits."""
_VULGAR = "½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅐⅛⅜⅝⅞⅑⅒"
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+")
_SUPERSCRIPT = re.compile(r"([⁻⁺]?[⁰¹²³⁴⁵⁶⁷⁸⁹]+)")
_UNICODE = str.maketrans(
    {**dict.fromkeys(MINUS_SIGNS, "-"), **dict.fromkeys(SPACES, " "), "⁄": "/", "×": r"\times "}
)
_GROUP_MARK = (
    rf"(?:(?:\\(?:text|mathord|mathpunct))?\{{,\}}|(?<=\d)['’](?=\d{{3}})"
    rf"|,?\\!\s*|\\,\s*|\\ |~|[{SPACES}])"
)
_GROUPS = re.compile(rf"(?<![\d.])\d{{1,3}}(?:{_GROUP_MARK}\d{{3}})+(?!\d)")
_POINT = re.compile(r"\.\d")
_MARK = re.compile(_GROUP_MARK)
_SPACED = re.compile(r"(?<![\d.,/^_])(?<!\d )[1-9]\d{0,2}(?: \d{3})+(?![\d/]|\.?\d| \d|\s*/)")
_POWER = (
    r"10\s*\^\s*(?:\{\s*(?P<power>[-+]?\d{1,3})\s*\}"
    r"|\(\s*(?P<power2>[-+]?\d{1,3})\s*\)|(?P<digit>-?\d{1,3}))"
)
_CYCLE = (
    r"(?:\\(?:overline|bar)\s*\{\s*(?P<over_line>\d{1,60})\s*\}|\((?P<bracket>\d{1,60})\)"
    r"|\\dot\s*(?:\{(?P<dot1>\d)\}|(?P<dot1a>\d))(?:(?P<between>\d{0,60})"
    r"\\dot\s*(?:\{(?P<dot2>\d)\}|(?P<dot2a>\d)))?)"
)
_NUMBER = re.compile(
    rf"""(?P<sign>[-+])?\s*(?:
        (?P<before>\d*)\.(?P<start>\d{{0,60}}){_CYCLE}
      | (?P<dots>\d*\.\d{{2,60}})(?:\.\.\.|…|\\l?dots(?![A-Za-z])|\\cdots(?![A-Za-z]))
      | (?:(?P<whole>\d{{1,60}})\s*)?\\frac\s*(?:\{{\s*(?P<top>-?{DECIMAL})\s*\}}|(?P<top1>\d))
            \s*(?:\{{\s*(?P<bottom>-?{DECIMAL})\s*\}}|(?P<bottom1>\d))
      | (?P<wholes>\d{{0,60}})\s?(?P<vulgar>[{_VULGAR}])
      | (?:(?P<units>\d{{1,60}})\s+(?=\d{{1,60}}\s*/))?(?P<over>{DECIMAL})
            \s*/\s*(?P<under>{DECIMAL})(?!\d)
      | {_POWER.replace("P<", "P<lone_")}(?!\d)
      | (?P<decimal>{DECIMAL}\.?)(?:[eE](?P<exponent>[-+]?\d{{1,3}})(?![\w.])
            |\s*(?:\\times|\\cdot|\*|·|x)\s*{_POWER})?
    )(?P<percent>\s*\\?%)?""",
    re.VERBOSE,
)
_IN_PROSE = re.compile(
    rf"(?:(?<![\w)\]}}])[-{MINUS_SIGNS}])?"
    rf"(?:\d{{1,3}}\s\d{{1,3}}/\d{{1,3}}(?![\d/])|(?<![\d.])\d{{0,3}}\s?[{_VULGAR}]"
    rf"|(?:(?<!\d)\d{{1,3}}(?:,\d{{3}})+(?![\d])|\d+|(?<![\w.])(?=\.\d))(?:\.\d+)?"
    rf"(?:\s?/\s?\d+|[eE][-+]?\d{{1,3}}(?!\w))?)"
)


@dataclass(frozen=True, slots=True)
class Number:
    """A number that was read.

    Attributes:
        value: exact; of 25% what stands before the sign.
        rounded: written with a decimal point and an end, so it may have been rounded.
        percent: a percent sign follows.
    """

    value: Fraction
    rounded: bool = False
    percent: bool = False


def exact(digits: str) -> Fraction:
    """The value of digits with thousands commas, a point, an exponent or a slash.

    Raises:
        ValueError: it is no such number.
        ZeroDivisionError: the slash divides by zero.
    """
    return Fraction(digits.translate(_UNICODE).replace(",", "").replace(" ", "").rstrip("."))


def join_groups(text: str) -> str:
    r"""The text without what stands between groups of three digits: `10\,000` is `10000`.

    Commas and plain spaces stay: they may separate the numbers of a list.
    """
    return _GROUPS.sub(lambda found: _MARK.sub("", found.group()), text)


def join_spaced_groups(text: str) -> str:
    """The text without single spaces between groups of three digits: `10 000` is `10000`."""
    return _SPACED.sub(lambda found: found.group().replace(" ", ""), text)


def plain_number_text(text: str) -> str:
    """The text with one spelling for signs, spaces, groups and exponents of its numbers."""
    text = join_groups(text)
    text = _SUPERSCRIPT.sub(lambda found: f"^{{{found[1].translate(_SUPERSCRIPTS)}}}", text)
    return join_spaced_groups(text.translate(_UNICODE))


def match_number(text: str) -> tuple[Number, int] | None:
    """The number that a plain text (see `plain_number_text`) begins with, and where it ends."""
    found = _NUMBER.match(text)
    if found is None:
        return None
    try:
        value = _value(found)
    except (ValueError, ZeroDivisionError):
        return None
    if value is None:
        return None
    part = found.groupdict()
    repeats = part["dots"] is not None or any(
        part[name] is not None for name in ("over_line", "bracket", "dot1", "dot1a")
    )
    rounded = _POINT.search(found.group()) is not None and not repeats
    return Number(value, rounded, part["percent"] is not None), found.end()


def read_number(text: str) -> Number | None:
    """The number that the whole text is; None if it is anything else."""
    if len(text) > LONGEST:
        return None
    text = plain_number_text(text).strip()
    found = match_number(text)
    return found[0] if found and found[1] == len(text) else None


def numbers_in(text: str) -> Iterator[re.Match[str]]:
    """Where the numbers of a plain sentence are: digits, commas, points and slashes."""
    return _IN_PROSE.finditer(text)


def digits_of(number: str) -> str:
    """A number of a sentence without its thousands commas, with the keyboard's minus sign."""
    return re.sub(r"\s*/\s*", "/", number.translate(_UNICODE).replace(",", ""))


def terminates(value: Fraction) -> bool:
    """Whether the decimals of a number come to an end."""
    rest = value.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    return rest == 1


def _value(number: re.Match[str]) -> Fraction | None:
    part = number.groupdict()
    if part["before"] is not None:
        value = _repeating(part)
    elif part["dots"] is not None:
        value = _elided(part["dots"])
    elif part["vulgar"] is not None:
        numeric = Fraction(unicodedata.numeric(part["vulgar"])).limit_denominator(10)
        value = int(part["wholes"] or 0) + numeric
    elif part["over"] is not None:
        value = int(part["units"] or 0) + exact(part["over"]) / exact(part["under"])
    elif part["decimal"] is not None:
        power = part["exponent"] or part["power"] or part["power2"] or part["digit"] or 0
        value = exact(part["decimal"]) * Fraction(10) ** int(power)
    elif part["top"] or part["top1"]:
        top, bottom = part["top"] or part["top1"], part["bottom"] or part["bottom1"]
        value = int(part["whole"] or 0) + exact(top) / exact(bottom)
    else:
        power = part["lone_power"] or part["lone_power2"] or part["lone_digit"]
        value = Fraction(10) ** int(power)
    if value is None:
        return None
    return -value if part["sign"] == "-" else value


def _repeating(part: dict[str, str | None]) -> Fraction:
    """The value of 0.1(6)."""
    cycle = part["over_line"] or part["bracket"]
    if cycle is None:
        first, last = part["dot1"] or part["dot1a"] or "", part["dot2"] or part["dot2a"] or ""
        cycle = f"{first}{part['between'] or ''}{last}" if last else first
        after = "" if last else part["between"] or ""
        if after:
            raise ValueError(after)
    start = part["start"] or ""
    head = Fraction(int((part["before"] or "0") + start), 10 ** len(start))
    return head + Fraction(int(cycle), (10 ** len(cycle) - 1) * 10 ** len(start))


def _elided(digits: str) -> Fraction | None:
    """The value of 0.1666...: what is shown must show that it repeats."""
    whole, _, decimals = digits.partition(".")
    for length in range(1, len(decimals) // 2 + 1):
        cycle = decimals[-length:]
        times = 3 if length == 1 and len(decimals) > 2 else 2
        if decimals.endswith(cycle * times):
            start = decimals[: -len(cycle * times)]
            head = Fraction(int((whole or "0") + start), 10 ** len(start))
            return head + Fraction(int(cycle), (10**length - 1) * 10 ** len(start))
    return None
