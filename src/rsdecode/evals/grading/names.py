"""What an answer is called: the x of `x = 5`; and chains such as a < b < c."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rsdecode.evals.grading.structure import Parts, parts_of, split_at

_NAME = re.compile(
    r"\s*(?P<name>\([A-Za-z](?:\s*,\s*[A-Za-z])+\)|(?:m\s*)?\\angle\s*[A-Za-z_{}\d\s]+?"
    r"|\(\s*[A-Za-z]\s*\\circ\s*[A-Za-z]\s*\)\s*\([a-z]\)"
    r"|\\?[A-Za-z]+'*(?:_\{?\w+\}?)?(?:\s*\([A-Za-z]\))?|\\(?:vec|overrightarrow|mathbf)\s*\{?[A-Za-z]+\}?)"
    r"\s*=\s*(?P<value>[^=].*)",
    re.DOTALL,
)
_CHAIN = re.compile(
    r"(\\le(?![A-Za-z])|\\ge(?![A-Za-z])|\\lt(?![A-Za-z])|\\gt(?![A-Za-z])|<=|>=|<|>)"
)
_CHAIN_SIGNS = {
    r"\le": "<=", r"\ge": ">=", r"\lt": "<", r"\gt": ">",
    "<=": "<=", ">=": ">=", "<": "<", ">": ">",
}  # fmt: skip

POINT = re.compile(r"^\s*[A-Z]'?(?:_\{?\d\}?)?\s*(?=\(.*,.*\)$)")
LABEL = re.compile(
    r"^\\text\s*\{\s*(?:[A-Za-z][A-Za-z ]{2,}:\s*\}"
    r"|(?:(?:the\s+)?(?:cent(?:er|re)|radius|vertex|focus|domain|range|mean|median|mode|slope|width|length"
    r"|height|area|perimeter|volume|max(?:imum)?|min(?:imum)?)(?:\s+(?:is|of|at|value))*)\s*\}\s*[:=]?)\s*(?=\S)",
    re.IGNORECASE,
)
EITHER = re.compile(r"(?<![A-Za-z\\])or(?![A-Za-z])|\\lor(?![A-Za-z])")


def name_and_value(text: str, *, own: bool = False) -> tuple[str, str] | None:
    """The name and the value of `x = 5`; f(x) is called y, unless its own name is asked for."""
    found = _NAME.fullmatch(text)
    if found is None or found["name"].count("{") != found["name"].count("}"):
        return None
    if len(parts_of(text).items) > 1:
        return None
    name = re.sub(r"[\s{}]", "", found["name"])
    name = re.sub(r"^m(?=\\angle)", "", name)
    return ("y" if not own and re.fullmatch(r"[fgy]\(x\)", name) else name), found["value"].strip()


def chain_of(text: str) -> tuple[list[str], list[str]] | None:
    """Terms and signs of a chain such as a < b < c, from the least on."""
    pieces = [piece.strip() for piece in _CHAIN.split(text)]
    terms, signs = pieces[::2], [_CHAIN_SIGNS[sign] for sign in pieces[1::2]]
    if len(signs) < 2 or not all(terms):
        return None
    if all(sign.startswith("<") for sign in signs):
        return terms, signs
    if all(sign.startswith(">") for sign in signs):
        return terms[::-1], [sign.replace(">", "<") for sign in signs[::-1]]
    return None


def named_alike(given: Parts, wanted: Parts) -> bool:
    """Whether each item of both lists says what it is, or only those of one list, all different."""
    names = [[name_and_value(item, own=True) for item in parts.items] for parts in (given, wanted)]
    named = [all(side) for side in names]
    if not any(named):
        return False
    different = [len({n[0][0] for n in side if n}) == len(side) for side in names]
    return any(name and other for name, other in zip(named, different, strict=True))


def in_order_of_names(items: Sequence[str]) -> list[str]:
    """The items in the order of their names, where all have one."""
    names = [name_and_value(item, own=True) for item in items]
    if not all(names) or len({name[0] for name in names if name}) < len(items):
        return list(items)
    return [
        item
        for _, item in sorted(
            (name[0], item) for name, item in zip(names, items, strict=True) if name
        )
    ]


def points_named(text: str) -> str:
    """Points for alternatives whose values are all named: `x=1, y=2 or x=2, y=1`."""
    ways = split_at(text, EITHER) if "or" in text and "=" in text else []
    parts = [parts_of(way) for way in ways]
    if len(ways) < 2 or not all(named_alike(part, part) for part in parts):
        return text
    values = [[name_and_value(item) for item in in_order_of_names(part.items)] for part in parts]
    if any(len(items) < 2 for items in values):
        return text
    return ", ".join(f"({', '.join(item[1] for item in items if item)})" for items in values)
