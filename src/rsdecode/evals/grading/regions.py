r"""Parts of the number line: unions of intervals and points, relations of one variable.

`x < 2 \text{ or } x > 3`, `(-\infty, 2) \cup (3, \infty)` and `\mathbb{R} \setminus [2, 3]` are the
same region. Ends are texts; what they are worth is asked of `Formulas`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

from rsdecode.core.numbers import read_number
from rsdecode.evals.grading.line import EVERYTHING, End, Piece, complement, intersected, united
from rsdecode.evals.grading.notation import unwrapped
from rsdecode.evals.grading.structure import enclosed, split, split_at
from rsdecode.evals.grading.worded import ALL_BUT, in_signs

_OR = re.compile(
    r"\\cup(?![A-Za-z])|(?<![A-Za-z\\])or(?![A-Za-z])|\\lor(?![A-Za-z])|(?<=[\])])\s*U\s*(?=[\[(])"
)
_AND = re.compile(r"\\cap(?![A-Za-z])|(?<![A-Za-z\\])and(?![A-Za-z])|\\land(?![A-Za-z])|[,;]")
_WITHOUT = re.compile(
    r"\\(?:setminus|backslash)(?![A-Za-z])|(?<=\})\s*-\s*(?=\\\{)|(?<=[\])])\s*\\\s*(?=\\\{)"
)
_IN = re.compile(r"^\s*(?P<name>[A-Za-z](?:_\{?\w+\}?)?(?:\([a-z]\))?)\s*\\in(?![A-Za-z])\s*")
_BUILDER = re.compile(
    r"^\s*(?P<name>[A-Za-z])\s*(?:\\in\s*\\mathbb\{R\}\s*)?(?:\\mid|\\vert|\||:)\s*(?:(?P=name)\s*\\in\s*\\mathbb\{R\}\s*,)?(?P<rest>.*)$"
)
_RELATION = re.compile(
    r"\s*(\\le(?![A-Za-z])|\\ge(?![A-Za-z])|\\lt(?![A-Za-z])|\\gt(?![A-Za-z])|\\ne(?![A-Za-z])|<=|>=|!=|<|>|=)\s*"
)
_PLAIN = {r"\le": "<=", r"\ge": ">=", r"\lt": "<", r"\gt": ">", r"\ne": "!="}
_NAME = re.compile(
    r"[A-Za-z](?:_\{?\w+\}?)?(?:\([a-z]\))?|\\(?:theta|alpha|beta|lambda|mu|phi|varphi)"
)
_VARIABLE = re.compile(r"(?<![A-Za-z\\])[a-df-hj-zA-Z](?![A-Za-z])")
_ABSOLUTE = re.compile(r"\|(?P<name>[A-Za-z])\s*(?:(?P<sign>[-+])\s*(?P<middle>[^|]+))?\|")
_INFINITE = re.compile(r"([-+]?)\s*(?:\\infty|\\inf|oo|infinity|inf)")


class Values(Protocol):
    """Says what formulas are worth."""

    def value(self, text: str) -> float | None:
        """The value of a real constant; None of anything else."""
        ...

    def same(self, answer: str, reference: str) -> bool:
        """Whether two formulas are equal."""
        ...


@dataclass(frozen=True, slots=True)
class Region:
    """A union of pieces, from left to right.

    Attributes:
        name: of the variable; "" where none is named.
        sure: it cannot be a point or a list: a union, a relation, infinite or half-open.
    """

    pieces: tuple[Piece, ...]
    name: str = ""
    sure: bool = True


def same_region(a: Region, b: Region, values: Values) -> bool:
    """Whether two regions are equal, and of the same variable where both name one."""
    if a.name and b.name and a.name != b.name:
        return False
    if len(a.pieces) != len(b.pieces):
        return False
    return all(
        _same_end(one.low, other.low, values) and _same_end(one.high, other.high, values)
        for one, other in zip(a.pieces, b.pieces, strict=True)
    )


def read_region(text: str, values: Values) -> Region | None:
    """The region that a prepared text describes; None if it is something else."""
    alternatives = split_at(in_signs(text), _OR)
    regions = [_conjunction(part, values) for part in alternatives]
    if any(region is None for region in regions):
        return None
    found = [region for region in regions if region is not None]
    names = {region.name for region in found if region.name}
    if len(names) > 1:
        return None
    pieces = united([piece for region in found for piece in region.pieces])
    sure = any(region.sure for region in found) or (len(found) > 1 and r"\cup" in text)
    return Region(pieces, next(iter(names), ""), sure)


def _conjunction(text: str, values: Values) -> Region | None:
    whole = _single(text, values)
    if whole is not None:
        return whole
    parts = split_at(text, _AND)
    if len(parts) < 2:
        return None
    regions: list[Region] = []
    for part in parts:
        region = _single(part, values)
        if region is None and regions and regions[-1].name and r"\ne" in text:
            region = _single(f"{regions[-1].name} \\ne {part}", values)  # x \ne 1, 2
        if region is None:
            return None
        regions.append(region)
    if all(map(enclosed, parts)) and "," in text and any(region.sure for region in regions):
        return Region(united([piece for region in regions for piece in region.pieces]))
    if not all(region.sure for region in regions) or len({r.name for r in regions}) > 1:
        return None
    pieces = regions[0].pieces
    for region in regions[1:]:
        pieces = intersected(pieces, region.pieces)
    if not pieces and "," in text and not re.search(r"and|\\land|\\cap", text):
        pieces = united([piece for region in regions for piece in region.pieces])
    return Region(pieces, regions[0].name)


def _single(text: str, values: Values) -> Region | None:
    name = ""
    if found := _IN.match(text):
        name, text = found["name"], text[found.end() :]
        inner = read_region(text, values) if _OR.search(text) else _single(text, values)
        return inner and Region(inner.pieces, inner.name or name)
    text = text.strip()
    if found := ALL_BUT.match(unwrapped(text)):
        without = _single(rf"x \ne {found['points']}", values) or _conjunction(
            rf"x \ne {found['points']}", values
        )
        return without and Region(without.pieces)
    if text in (r"\mathbb{R}", r"\R", r"\Reals"):
        return Region(EVERYTHING)
    if re.fullmatch(r"\\mathbb\{R\}\s*(?:\^|_)\s*\{?\s*(?:\+|>\s*0)\s*\}?", text):
        return Region((Piece(End("0", 0.0, False), EVERYTHING[0].high),))
    if text == r"\emptyset":
        return Region(())
    pieces = split_at(text, _WITHOUT)
    if len(pieces) == 2:
        whole, without = (_single(piece, values) for piece in pieces)
        if whole is None or without is None:
            return None
        return Region(intersected(whole.pieces, complement(without.pieces)), whole.name)
    if inside := enclosed(text):
        return _bracketed(*inside, values)
    return _relation(text, values)


def _bracketed(opening: str, content: str, closing: str, values: Values) -> Region | None:
    if opening == r"\{":
        if found := _BUILDER.match(content):
            inner = read_region(found["rest"], values)
            return inner and Region(inner.pieces, "")
        points = [_end(item, values, True) for item in split(content)]
        if any(point is None for point in points):
            return None
        found = [Piece(point, point) for point in points if point is not None]
        return Region(united(found), sure=False)
    if opening not in "([" or closing not in ")]":
        return None
    items = split(content)
    if len(items) == 1 and opening + closing == "()":
        return read_region(items[0], values)
    if len(items) != 2:
        return None
    low, high = (
        _end(item, values, bracket in "[]")
        for item, bracket in zip(items, (opening, closing), strict=True)
    )
    if low is None or high is None or low.value > high.value:
        return None
    sure = opening + closing in ("[)", "(]", "[]") or float("inf") in (-low.value, high.value)
    return Region((Piece(low, high),), sure=sure)


def _relation(text: str, values: Values) -> Region | None:
    r"""A chain of relations of one variable: -3 < x \le 2, x \ne 1, |x| > 2, x = 5."""
    sides = [side.strip() for side in _RELATION.split(text)]
    terms, signs = sides[::2], [_PLAIN.get(sign, sign) for sign in sides[1::2]]
    if not signs or any(not term for term in terms):
        return None
    named = [index for index, term in enumerate(terms) if _NAME.fullmatch(term)]
    if len(terms) == 2 and not named:
        return _absolute(terms, signs[0], values)
    if len(named) != 1 or len(terms) > 3 or (len(terms) == 3 and named != [1]):
        return None
    name, pieces = terms[named[0]], EVERYTHING
    for index, sign in enumerate(signs):
        left, right = terms[index], terms[index + 1]
        other = right if left == name else left
        if sign == "!=" and other.startswith(r"\pm"):
            return _conjunction(rf"{name} \ne {other[3:]}, {name} \ne -{other[3:]}", values)
        end = _end(other, values, "=" in sign and sign != "!=")
        if end is None:
            return None
        pieces = intersected(pieces, _half(end, sign if left == name else _flipped(sign)))
    return Region(pieces, name, sure=signs != ["="])


def _absolute(terms: list[str], sign: str, values: Values) -> Region | None:
    if _ABSOLUTE.fullmatch(terms[1]):
        terms, sign = terms[::-1], _flipped(sign)
    found = _ABSOLUTE.fullmatch(terms[0])
    radius = read_number(terms[1])
    middle = read_number(found["middle"]) if found and found["middle"] else None
    if found is None or radius is None or (found["middle"] and middle is None) or sign in "=!=":
        return None
    centre = 0 if middle is None else middle.value if found["sign"] == "-" else -middle.value
    ends = [
        End(str(value), float(value), "=" in sign)
        for value in (centre - radius.value, centre + radius.value)
    ]
    inside = (Piece(ends[0], ends[1]),)
    if sign[0] == "<":
        return Region(inside, found["name"])
    low, high = (End(end.text, end.value, not end.closed) for end in ends)
    return Region(complement((Piece(low, high),)), found["name"])


def _flipped(sign: str) -> str:
    return {"<": ">", ">": "<", "<=": ">=", ">=": "<="}.get(sign, sign)


def _half(end: End, sign: str) -> tuple[Piece, ...]:
    """Where a variable stands in this relation to the end."""
    everything = EVERYTHING[0]
    match sign:
        case "<" | "<=":
            return (Piece(everything.low, end),)
        case ">" | ">=":
            return (Piece(end, everything.high),)
        case "!=":
            return (Piece(everything.low, end), Piece(end, everything.high))
        case _:
            return (Piece(end, end),)


def _end(text: str, values: Values, closed: bool) -> End | None:
    if infinite := _INFINITE.fullmatch(text.strip()):
        value = float(infinite[1] + "inf")
        return End("oo" if value > 0 else "-oo", value, False)
    number = read_number(text)
    value = float(number.value) if number and not number.percent else _constant(text, values)
    return None if value is None else End(text, value, closed)


def _constant(text: str, values: Values) -> float | None:
    return None if _VARIABLE.search(re.sub(r"\\[A-Za-z]+", " ", text)) else values.value(text)


def _same_end(a: End, b: End, values: Values) -> bool:
    if a.closed != b.closed or abs(a.value) == float("inf") or abs(b.value) == float("inf"):
        return (a.closed, a.value) == (b.closed, b.value)
    if abs(a.value - b.value) > 1e-6 * max(1.0, abs(a.value)):
        return False
    return a.text == b.text or values.same(a.text, b.text)
