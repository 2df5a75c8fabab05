r"""Answers with an integer in them: `n\pi`, `\frac{\pi}{4} + k\pi, k \in \mathbb{Z}`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from rsdecode.evals.grading.structure import Shape, enclosed, parts_of

_LETTER = r"(?P<letter>[jklmnpt])"
_INTEGERS = r"(?:\\mathbb\{Z\}|\\Z|Z)"
_NATURALS = (
    r"(?:\\mathbb\{(?:N|Z)\}\s*(?:_\{?\s*(?:\+|0|>0|\\ge\s*\d)\s*\}?|\^\{?\s*[+*]\s*\}?)"
    r"|\\mathbb\{N\}|N)"
)
_KINDS = r"(?:positive|non-?negative|natural|negative|odd|even)"
_IS = r"(?:is|are|being)?\s*(?:an?y?|all|arbitrary|some|every)?\s*(?:arbitrary\s+)?"
_BEFORE = r"[,;:]?\s*\(?\s*(?:,?\s*(?:where|for|with|and|when)\s+)?(?:all|any|some|every|each)?\s*"
_DECLARED = re.compile(
    rf"(?P<before>{_BEFORE})(?:"
    rf"{_LETTER}\s*\\in\s*(?:(?P<naturals>{_NATURALS})|{_INTEGERS})"
    rf"|{_LETTER.replace('letter', 'letter2')}\s*{_IS}(?P<positive>{_KINDS}\s*)?"
    r"(?:integers?|numbers?)"
    rf"|(?:an?y?\s+)?(?P<positive2>{_KINDS}\s+)?(?:integers?|numbers?)"
    rf"\s*(?:values?\s*(?:of)?)?\s*{_LETTER.replace('letter', 'letter3')}"
    r")\s*\)?\s*\.?\s*$"
)
_WRAPPED = re.compile(r"\\(?:text|mbox|textrm|mathrm)\s*\{([^{}]*)\}")
_BUILDER = re.compile(r"\s*(?P<name>[A-Za-z])?\s*(?P<head>[^|:]*?)\s*(?:\\mid|\||:)\s*(?P<rest>.*)")
_FREE = re.compile(r"(?<![A-Za-z\\])([jklmn])(?![A-Za-z])|(?<=\d)([jklmn])(?![A-Za-z])")
_OTHERS = re.compile(r"(?<![A-Za-z\\])[a-df-ho-zA-Z](?![A-Za-z])")
_CIRCLE = re.compile(r"\\pi(?![A-Za-z])|\^\\circ")
_BETWEEN = re.compile(
    r"(?P<low>[^<>=]+?)\s*(?P<left>\\le(?![A-Za-z])|<)\s*(?:[a-z]|\\theta|\\alpha)\s*"
    r"(?P<right>\\le(?![A-Za-z])|<)\s*(?P<high>[^<>=]+)"
)
_CONGRUENCE = re.compile(
    r"\s*[A-Za-z]\s*(?:\\equiv|≡)\s*(?P<value>-?\d{1,9})\s*\\pmod\s*\{?\s*(?P<modulus>\d{1,9})\s*\}?\s*"
)
_NAMED = re.compile(r"^\s*(?:[A-Za-z]|\\theta|\\alpha|\\varphi|\\phi)\s*=\s*(?=[^=]*$)")


@dataclass(frozen=True, slots=True)
class Family:
    """Formulas in which a letter stands for every integer, or for those of a domain.

    Attributes:
        items: the formulas.
        letter: the integer's; "" where there is none.
        domain: "Z" for all integers; "" where the text does not say that it is an integer.
    """

    items: tuple[str, ...]
    letter: str
    domain: str


def read_family(text: str) -> Family:
    """The formulas of a prepared text, and the integer in them."""
    if remainder := _CONGRUENCE.fullmatch(text):
        return Family((f"{remainder['modulus']}k+{remainder['value']}",), "k", "Z")
    plain = _WRAPPED.sub(r" \1 ", text).strip()
    inside = enclosed(plain)
    if inside and inside[0] == r"\{" and (builder := _BUILDER.fullmatch(inside[1])):
        head = f"{builder['name'] or ''}{builder['head']}".strip()
        rest = builder["rest"]
        plain = rest if re.fullmatch(r"[A-Za-z]", head) else f"{head}, {rest}"
    letter, domain = "", ""
    if found := _DECLARED.search(plain):
        letter = found["letter"] or found["letter2"] or found["letter3"]
        said = (found["positive"] or found["positive2"] or "").strip()
        domain = said or ("N" if found["naturals"] else "Z")
        plain = plain[: found.start()].strip().rstrip(",;").strip()
    parts = parts_of(plain)
    items = parts.items if parts.shape in (Shape.FORMULA, Shape.LIST, Shape.SET) else (plain,)
    items = tuple(_BETWEEN.sub(_interval, _NAMED.sub("", item)) for item in items)
    if not letter:
        letters = {a or b for item in items for a, b in _FREE.findall(item)}
        letter = letters.pop() if len(letters) == 1 else ""
    return Family(items, letter, domain)


def _interval(found: re.Match[str]) -> str:
    left, right = ("[" if "e" in found["left"] else "("), ("]" if "e" in found["right"] else ")")
    return f"{left}{found['low']}, {found['high']}{right}"


def are_families(a: Family, b: Family) -> bool:
    """Whether letters are integers: one text says so, or both hold multiples of pi or degrees."""
    if a.domain or b.domain:
        return bool(a.letter or b.letter)
    if not (a.letter and b.letter):
        return False
    items = (*a.items, *b.items)
    circles = any(_CIRCLE.search(item) for item in a.items) and any(
        _CIRCLE.search(item) for item in b.items
    )
    return circles and not any(_OTHERS.search(re.sub(r"\\[A-Za-z]+", " ", item)) for item in items)
