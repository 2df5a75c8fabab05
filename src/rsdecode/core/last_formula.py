"""Finds the last formula of a text, as a whole: an answer that nothing announces."""

from __future__ import annotations

import re

from rsdecode.core.numbers import digits_of, numbers_in, plain_number_text
from rsdecode.core.units import leading_unit

DISPLAY = re.compile(
    r"\$\$(?P<dollars>.+?)\$\$|\\\[(?P<square>.+?)\\\]|\\\((?P<round>.+?)\\\)"
    r"|\\begin\{(?P<name>equation|aligned|align|gather|displaymath|math)(?P<star>\*?)\}(?P<inside>.+?)"
    r"\\end\{(?P=name)(?P=star)\}|(?<!\\)\$(?P<dollar>(?:\\\$|[^$\n])*[^$\s\\])\$",
    re.DOTALL,
)
REMARK = re.compile(
    r"(?<=[\d})$*.%])\s+\((?:[^()]*[A-Za-z]{3,}[^()]*|[≈~=][^()]*|(?:or|i\.e\.)[^()]*|[\d.]+\s*\\?%)\)|（[^（）]*）"
)
MATHEMATICS = re.compile(
    r"[\\^_=+*<>(){}\[\]|π√∞°/]|(?<![\w'])[b-zB-HJ-Z](?![\w'])|\d[A-Za-z%]|\b(?:pi|sqrt|log)\b"
)
_FUNCTIONS = {"pi", "sqrt", "log", "ln", "sin", "cos", "tan", "x", "or"}
_NAME = r"(?:[A-Za-z]|\\[a-z]+)(?:_\{?\w+\}?)?"
_SIGN = "(?:[<>]=|[=<>≤≥])"
_VALUE = r"[-+]?[\w.√π^*/()+-]+"
_JOINED = re.compile(
    r"\s*(?:[,;、或和与]|[,;]?\s+(?:and|or|und|oder|et|ou|y|o|e|и|или))\s*(?:also\s+)?"
)
_NAMED_VALUE = re.compile(rf"\s*{_NAME}\s*=(?!.*=).*|[^=]*", re.DOTALL)
_NAMED_VALUES = re.compile(
    rf"(?<![\w)]){_NAME}\s*{_SIGN}\s*{_VALUE}"
    rf"(?:(?:,\s*|\s+)(?:(?:and|or)\s+)?{_NAME}\s*{_SIGN}\s*{_VALUE})+"
)
_VALUES = re.compile(
    rf"\b(?:are|be|either|both)\s+(?P<values>{_VALUE}(?:,\s+{_VALUE})*,?\s+(?:and|or)\s+{_VALUE})"
)
_CURVE = re.compile(r"[xy]\s*\^|\d\s*[xy]|\)")
_OPEN_BOX = re.compile(r"\\boxed\s*\{(?=[^}]*$|[^{}]*\{[^{}]*\}[^}]*$)")


def formula_of(found: re.Match[str], after: str) -> str:
    r"""What a formula holds, with the unit behind it; of `align` all values, or the last line."""
    inside = next(
        found[name]
        for name in ("dollars", "square", "round", "inside", "dollar")
        if found[name] is not None
    )
    if found["name"]:
        inside = re.sub(r"\\(?:nonumber|tag\{[^{}]*\}|label\{[^{}]*\})", "", inside)
        lines = [line.replace("&", "").strip(" \n,") for line in inside.split(r"\\")]
        lines = [line for line in lines if line]
        names = {line.partition("=")[0].strip() for line in lines if _NAMED_VALUE.fullmatch(line)}
        inside = ", ".join(lines) if len(names - {""}) == len(lines) > 1 else lines[-1]
    inside = inside.strip().rstrip(".,;").strip()
    unit = leading_unit(after.lstrip()) if after[:1] in (" ", "-") else ""
    return f"{inside} \\text{{ {unit}}}" if unit and not unit.startswith("dollar") else inside


def with_unit(number: re.Match[str], text: str) -> str:
    """The digits of a number that was found in a text, with the unit behind it."""
    unit = leading_unit(text[number.end() :].lstrip(" -"))
    digits = digits_of(number.group())
    return f"{digits} {unit}" if unit and not unit.startswith("dollar") else digits


def last_mathematics(text: str) -> str | None:
    """The last number of a text, or the formula that it belongs to."""
    text = _OPEN_BOX.sub("", REMARK.sub("", text.rstrip()))
    formulas = [found for found in DISPLAY.finditer(text) if _says_something(found.group())]
    start = formulas[-1].end() if formulas else 0
    rest = DISPLAY.sub(lambda found: " " * len(found.group()), text[start:])
    if (expression := _expression(rest)) is not None:
        return expression
    if not formulas:
        return None
    return _joined(formulas, text)


def _joined(formulas: list[re.Match[str]], text: str) -> str:
    """The last formula, with those that stand before it in one list: `$x = 2$ or $x = 3$`."""
    first = len(formulas) - 1
    values = [formula_of(formulas[-1], text[formulas[-1].end() :].partition("\n")[0])]
    joiners: list[str] = []
    while first and _NAMED_VALUE.fullmatch(values[0]):
        gap = text[formulas[first - 1].end() : formulas[first].start()]
        value = formula_of(formulas[first - 1], "")
        if not _JOINED.fullmatch(gap) or not _NAMED_VALUE.fullmatch(value):
            break
        first -= 1
        values.insert(0, value)
        joiners.insert(0, " or " if re.search("o|или|或", gap) else ", ")
    if not joiners:
        return _right_side(values[0])
    return values[0] + "".join(map("".join, zip(joiners, values[1:], strict=True)))


def _says_something(formula: str) -> bool:
    """Whether a formula is more than the name of a variable."""
    return re.search(r"\d|=|[-+^/]|\\(?:frac|sqrt|pi|infty|emptyset|text)", formula) is not None


def _expression(text: str) -> str | None:
    """The last number of plain text, with the operators and operands around it."""
    for line in reversed(text.split("\n")):
        plain = re.sub(r"^\s*(?:[-*•>#]+\s+)+", "", plain_number_text(line))
        numbers = list(numbers_in(plain))
        if not numbers:
            continue
        last = numbers[-1]
        if several := _several(plain, last):
            return several
        words = list(re.finditer(r"\S+", plain))
        at = next(i for i, word in enumerate(words) if word.end() >= last.end())
        first = max(i for i, word in enumerate(words) if word.start() <= last.start())
        while first and _belongs(words[first - 1].group(), words[first].group()):
            first -= 1
        end = at
        while end + 1 < len(words):
            word = words[end + 1].group()
            if not _belongs(word.rstrip(".,;:?") or word, words[end].group()):
                break
            end += 1
        first = _with_opening(plain, words, first, end)
        run = plain[words[first].start() : words[end].end()].strip("*`\"“”'$?!;:, ").rstrip(".,")
        run = _right_side(run.strip("*`\"“”'$ ").strip("=+* ").rstrip("-/("))
        if len(list(numbers_in(run))) == 1 and not MATHEMATICS.search(run.replace("/", "")):
            only = next(numbers_in(run))
            if only.group() == last.group() and at == end:
                return with_unit(last, plain)
            return digits_of(only.group())
        return run
    return None


def _several(plain: str, last: re.Match[str]) -> str | None:
    """The list that the last number ends: `x = 3 or x = 5`, `are 3 and 5`."""
    for pattern in (_NAMED_VALUES, _VALUES):
        for found in pattern.finditer(plain):
            if found.end() >= last.end() > found.start():
                return found.groupdict().get("values", found.group()).rstrip(".")
    return None


def _with_opening(plain: str, words: list[re.Match[str]], first: int, end: int) -> int:
    """Where the formula begins whose closing bracket stands in it: `(2, 5)` of several words."""
    for start in range(first, max(first - 6, -1), -1):
        run = plain[words[start].start() : words[end].end()]
        closed = sum(map(run.count, ")]")) - sum(map(run.count, "(["))
        if closed <= 0:
            return start
    return first


def _belongs(word: str, neighbour: str) -> bool:
    """Whether a word is a part of the formula beside it."""
    operator = re.compile(r"[-+*/=^<>≤≥×·÷]|\\(?:times|cdot|pm|le|ge)")
    word, neighbour = word.strip("*") or word, neighbour.strip("*") or neighbour
    ended = word.endswith((".", "?", "!", ";", ":"))
    if ended and not re.fullmatch(r"\d+\.\d*|(?:\w|\d+|\(.*\))!", word):
        return False
    is_operator = operator.fullmatch(word) is not None
    next_to = operator.fullmatch(neighbour) is not None
    plain = re.fullmatch(r"[\w^*/+\-().,√π∞%\\{}|!]+", word) is not None
    operand = plain and (
        re.search(r"[\d^√π\\]", word) is not None
        or re.fullmatch(r"[b-zB-HJ-Z]|\w!", word) is not None
        or word in _FUNCTIONS
    )
    return is_operator or (next_to and operand)


def is_curve(left: str) -> bool:
    """Whether the left side of an equation is of a line or curve in x and y: it names no value."""
    letters = re.sub(r"\\[A-Za-z]+", "", left)
    return "x" in letters and "y" in letters and _CURVE.search(letters) is not None


def _right_side(formula: str) -> str:
    """What follows the last equals sign of `3 + 4 = 7`, if it is short of a second unknown."""
    if re.search(r"[<>≤≥]|\\(?:le|ge|lt|gt|begin|ne)", formula) or "=" not in formula:
        return formula
    left, _, side = formula.rpartition("=")
    side = side.strip()
    if is_curve(left):
        return formula
    several = re.search(r"[,;]|\b(?:or|and)\b|\\lor", formula)
    return side if re.search(r"\d", side) and not several else formula
