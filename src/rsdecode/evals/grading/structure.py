r"""The parts of an answer: lists, sets, tuples, vectors and matrices, down to single formulas."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from rsdecode.evals.grading.notation import tidy, without_braces

_SEPARATOR = re.compile(r"\\(?:text|mbox|textrm|mathrm)\s*\{\s*(,?\s*(?:and|or|&)\s*)\}")
_CONJUNCTION = re.compile(
    r"(?<![A-Za-z\\])(?:and|or)(?![A-Za-z])|\\(?:lor)(?![A-Za-z])|[,;]|(?<!\\)&"
)
_BRACKETS = re.compile(
    r"\\(?:begin|end)\{[^{}]*\}|\\[{}]|\\(?:langle|lfloor|lceil|rangle|rfloor|rceil)(?![A-Za-z])|\\.|[()\[\]{}]"
)
_OPENING = {"(", "[", "{", r"\{", r"\langle", r"\lfloor", r"\lceil"}
_CLOSING = {")", "]", "}", r"\}", r"\rangle", r"\rfloor", r"\rceil"}
_MATRIX = re.compile(
    r"[(\[]?\s*\\begin\{(?P<name>[pbB]?matrix|smallmatrix|array)\}(?:\{[clr| ]*\})?"
    r"(?P<rows>(?:(?!\\end\{(?P=name)\}).)*)"
    r"\\end\{(?P=name)\}\s*[)\]]?(?P<turned>\s*\^\s*\{?\s*(?:T|\\top|\\intercal|t)\s*\}?)?",
    re.DOTALL,
)
_CASES = re.compile(
    r"\\begin\{(?P<name>cases|aligned|align\*?|gathered)\}(?P<rows>.*)\\end\{(?P=name)\}", re.DOTALL
)
_IF = re.compile(
    r"^(?:\\(?:text|mbox|textrm|mathrm)\s*\{\s*(?:if|for|when|where)\s*(?P<rest>[^{}]*)\}"
    r"|(?:if|for|when|where)(?![A-Za-z]))\s*"
)
_TURNED = re.compile(r"(?P<row>[(\[].*[)\]])\s*\^\s*\{?\s*(?:T|\\top|\\intercal)\s*\}?", re.DOTALL)
_UNIT_VECTOR = re.compile(
    r"\s*(?P<sign>[-+]?)\s*(?P<factor>(?:[^-+{}]|\{[^{}]*\}(?:\{[^{}]*\})?)*?)\s*"
    r"\\(?:mathbf|hat|vec|boldsymbol|bm|widehat|overrightarrow)\s*\{?\s*(?:\\hat\s*|\\mathbf\s*)?\{?"
    r"\\?(?P<axis>[ijk])(?:math)?\}?\s*\}?"
)
_REVERSED = re.compile(r"(?P<left>[\[\]])(?P<inside>[^\[\]()]*,[^\[\]()]*)(?P<right>[\[\]])")
_GROUPED = re.compile(r"(?<![\d,.])\d{1,3}(?:,\d{3})+(?![\d,]*\d)")
_ONE_NUMBER = re.compile(r"[-+]?\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_SIGNS = re.compile(r"\\(pm|mp)(?![A-Za-z])")


class Shape(StrEnum):
    """What an answer consists of."""

    FORMULA = "formula"
    LIST = "list"
    SET = "set"
    TUPLE = "tuple"
    BRACKET = "bracket"
    """Two items in square brackets, or in one of each: an interval."""
    COLUMN = "column"
    ROW = "row"
    MATRIX = "matrix"


@dataclass(frozen=True, slots=True)
class Parts:
    """An answer taken apart.

    Attributes:
        items: the texts of its elements; of a matrix, row after row; of a formula, itself.
        width: columns of a matrix.
        brackets: around a tuple or an interval.
    """

    shape: Shape
    items: tuple[str, ...]
    width: int = 1
    brackets: str = ""


def parts_of(text: str) -> Parts:
    """The parts of a tidied text, one level deep."""
    text = strip_outer(text)
    if matrix := _MATRIX.fullmatch(text):
        return _matrix(matrix)
    if cases := _CASES.fullmatch(text):
        rows = map(_case, cases["rows"].split(r"\\"))
        return Parts(Shape.LIST, tuple(row for row in rows if row))
    if (turned := _TURNED.fullmatch(text)) and (inside := enclosed(turned["row"])):
        return Parts(Shape.COLUMN, tuple(split(inside[1])))
    if vector := _unit_vectors(text):
        return Parts(Shape.TUPLE, vector, brackets="()")
    if text.startswith("(") and _SIGNS.search(text) and enclosed(text):
        return Parts(Shape.LIST, tuple(_both_signs([text])))
    if inside := enclosed(text):
        opening, content, closing = inside
        items = tuple(split(content))
        if opening == r"\{":
            return Parts(Shape.SET, tuple(_both_signs(items)))
        if opening == r"\langle" or opening + closing == "()":
            return _tuple_or_formula(text, items)
        if len(items) > 2 and opening + closing == "[]":
            return Parts(Shape.TUPLE, items, brackets="()")
        if len(items) == 2 and closing in ("]", ")"):
            return Parts(Shape.BRACKET, items, brackets=opening + closing)
    items = tuple(_both_signs(split(text)))
    return Parts(Shape.FORMULA if len(items) == 1 else Shape.LIST, items)


def prepared(text: str) -> str:
    """The text of an answer as its parts are looked for: tidied, brackets turned around."""
    text = _SEPARATOR.sub(r" \1 ", tidy(text)).replace(r"\&", "&")
    text = re.sub(r"\\choose(?![A-Za-z])", r"\\choose", text)
    return _REVERSED.sub(_turned, strip_outer(text))


def strip_outer(text: str) -> str:
    """The text without white space, a comma at its end and a pair of braces around it."""
    return without_braces(text.strip().strip(",;").strip())


def split(text: str) -> list[str]:
    """The items of a list, which commas, semicolons, `and` and `or` separate."""
    if _ONE_NUMBER.fullmatch(text.strip()):
        return [text.strip().replace(",", "")]
    if re.search(r",\s", text) or not re.fullmatch(r"[\d,\s]*", text):
        text = _GROUPED.sub(_without_commas_if_spaced(text), text)
    return [item.strip() for item in _split_at(text, _CONJUNCTION) if item.strip()]


def split_at(text: str, pattern: re.Pattern[str]) -> list[str]:
    """The pieces between separators that stand in no bracket."""
    return [piece.strip() for piece in _split_at(text, pattern)]


def enclosed(text: str) -> tuple[str, str, str] | None:
    """Opening bracket, content and closing bracket, if one pair is around all of the text."""
    depth, first = 0, None
    for found in _BRACKETS.finditer(text):
        bracket = found.group()
        step = _depth(bracket)
        if step > 0:
            if first is None:
                first = found
                if found.start():
                    return None
            depth += 1
        elif step < 0:
            depth -= 1
            if depth == 0 and first is not None:
                if text[found.end() :].strip():
                    return None
                return first.group(), text[first.end() : found.start()], bracket
    return None


def as_column(parts: Parts, text: str) -> str:
    """The text, or a tuple as a matrix of one column."""
    if parts.shape is not Shape.TUPLE:
        return text
    return r"\begin{pmatrix}" + r" \\ ".join(parts.items) + r"\end{pmatrix}"


def _depth(bracket: str) -> int:
    """What a bracket adds to the depth."""
    opens = bracket in _OPENING or bracket.startswith(r"\begin")
    return opens - (bracket in _CLOSING or bracket.startswith(r"\end"))


def _case(row: str) -> str:
    """A row of cases: an equation, or a value with its condition as a pair."""
    value, _, condition = (cell.strip(" ,.;") for cell in row.partition("&"))
    if not condition or (condition[0] in "=<>\\" and not condition.startswith(r"\text")):
        return f"{value} {condition}".strip()
    condition = _IF.sub(lambda found: found["rest"] or "", condition).strip()
    return f"({value}, {condition})"


def _split_at(text: str, pattern: re.Pattern[str]) -> list[str]:
    depth, start, pieces = 0, 0, list[str]()
    marks = sorted(
        [
            *((m.start(), 0, m) for m in _BRACKETS.finditer(text)),
            *((m.start(), 1, m) for m in pattern.finditer(text)),
        ],
        key=lambda mark: mark[:2],
    )
    for _, kind, found in marks:
        if kind == 0:
            depth += _depth(found.group())
        elif depth == 0 and found.start() >= start:
            pieces.append(text[start : found.start()])
            start = found.end()
    return [*pieces, text[start:]]


def _without_commas_if_spaced(text: str):
    """Whether 1,000 is a number in this list: only where its items are set apart by spaces."""
    spaced = len(re.findall(r",\s", text)) >= 1 or not re.search(r",(?!\d{3}(?!\d))", text)

    def joined(found: re.Match[str]) -> str:
        return found.group().replace(",", "") if spaced else found.group()

    return joined


def _tuple_or_formula(text: str, items: tuple[str, ...]) -> Parts:
    if len(items) > 1:
        return Parts(Shape.TUPLE, items, brackets="()")
    inside = enclosed(text)
    return Parts(Shape.FORMULA, (inside[1].strip() if inside and inside[0] == "(" else text,))


def _matrix(found: re.Match[str]) -> Parts:
    rows = [row for row in re.split(r"\\\\(?:\[[^\]]*\])?", found["rows"]) if row.strip()]
    table = [[cell.strip() for cell in row.split("&")] for row in rows]
    width = max(map(len, table), default=0)
    items = tuple(cell for row in table for cell in row)
    if any(len(row) != width for row in table) or not items:
        return Parts(Shape.FORMULA, (found.group(),))
    if found["turned"]:
        items = tuple(row[column] for column in range(width) for row in table)
        width = len(table)
    if width == 1:
        return Parts(Shape.COLUMN, items)
    if width == len(items):
        return Parts(Shape.ROW, items)
    return Parts(Shape.MATRIX, items, width)


def _unit_vectors(text: str) -> tuple[str, ...] | None:
    r"""The components of `3\mathbf{i} - 4\mathbf{j}`."""
    components: dict[str, str] = {}
    at = 0
    while at < len(text) and (found := _UNIT_VECTOR.match(text, at)):
        if found["axis"] in components or (at and not found["sign"]):
            return None
        components[found["axis"]] = f"{found['sign'].strip('+')}{found['factor'].strip() or '1'}"
        at = found.end()
    if not components or text[at:].strip():
        return None
    axes = "ijk" if "k" in components else "ij"
    return tuple(components.get(axis, "0") for axis in axes)


def _both_signs(items: list[str] | tuple[str, ...]) -> list[str]:
    r"""The items, each that has a `\pm` with both of its values."""
    out: list[str] = []
    for item in items:
        if not _SIGNS.search(item):
            out.append(item)
            continue
        for plus, minus in (("+", "-"), ("-", "+")):
            signed = _SIGNS.sub(lambda found, p=plus, m=minus: p if found[1] == "pm" else m, item)
            out.append(re.sub(r"(?<=[=(,{])\s*\+\s*|^\s*\+\s*", "", signed))
    return out


def _turned(found: re.Match[str]) -> str:
    """An interval with brackets the usual way round: ]1, 3[ is (1, 3)."""
    left, right = found["left"], found["right"]
    if (left, right) == ("[", "]"):
        return found.group()
    return f"{'(' if left == ']' else '['}{found['inside']}{')' if right == '[' else ']'}"
