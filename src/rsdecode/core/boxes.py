r"""Finds the boxes of a solution: the last one, or several that together are the answer."""

from __future__ import annotations

import re
from dataclasses import dataclass

from rsdecode.core.units import leading_unit

_BRACE = re.compile(r"\\(?:boxed|fbox|framebox)\s*\{|\\[{}]|[{}]")
_FORMATTING = re.compile(
    r"\\(?:text|textbf|mathrm|mbox)\s*\{|\\q?quad(?![A-Za-z])|\\[()\[\],;:! ]|\\\\|[$&}*~]"
)
_NAME = r"[A-Za-z](?:_\{?\w{1,3}\}?)?(?:\([A-Za-z]\))?\s*(?:=|is|:)"
_PHRASE = (
    r"(?:the\s+)?(?:(?!(?:answer|total|sum|final|result|product|area)\b)[a-z]+\s+){1,3}"
    r"(?:is|are|=|:)"
)
_JOINED = re.compile(
    rf"\s*(?:[,;]\s*)?(?:(?:and|or)(?:\s+also)?\s+(?:{_PHRASE}|{_NAME})?|(?:and|or)"
    rf"|(?:\n\s*(?:[-•]|\(?[a-z\d]{{1,2}}[.)])|[.;]?\s+(?:part|question)\s+\(?[a-z\d]\)?\s*[.:]?)?"
    rf"\s*(?:{_NAME})?)\s*",
    re.IGNORECASE,
)
_NOT_JOINED = re.compile(r"\b(?:so|then|thus|hence|therefore|but|not|which|that|equivalently)\b")
_OR = re.compile(r"\bor\b")
_BEHIND = re.compile(
    r"\}*(?:\$|\\\)|\*\*)*(?P<sign>\\?%|\^\s*\{?\\circ\}?)|\}*(?:\$|\\\)|\*\*)*(?:\s|~|\\[ ,;:])*"
    r"\\(?:text|mathrm|mbox)\s*\{\s*(?P<wrapped>[A-Za-z][^{}]*)\}(?P<power>\s*\^\s*\{?\d\}?)?"
    r"|(?:\$|\\\)|\*\*)*[ ~](?P<words>(?=[a-z]{2}|[mgsh]\b).{1,40})"
)
_LONGEST_GAP = 80


@dataclass(frozen=True, slots=True)
class _Box:
    """Where a box, and what it holds, begin and end."""

    start: int
    inside: int
    outside: int
    end: int


def boxed_answer(text: str) -> str | None:
    r"""The content of the last box; of several that are joined, all of it; None without a box.

    Boxes are joined by commas, `and` and `or`, or stand below each other: `\boxed{4}` and
    `\boxed{5}` are `4, 5`. Of a box in a box the inner one counts.
    """
    boxes = _boxes(text)
    if not boxes:
        return None
    last = max(boxes, key=lambda box: box.inside)
    joiners: list[str] = []
    contents = [_with_unit(text[last.inside : last.outside].strip(), text[last.end :])]
    before = sorted((box for box in boxes if box.end <= last.start), key=lambda box: -box.end)
    for box in before:
        gap = text[box.end : last.start]
        if len(gap) > _LONGEST_GAP or not _joined(gap):
            break
        content = text[box.inside : box.outside].strip()
        if gap.strip(" \n\t$.") or content != contents[0]:  # a box that is only repeated
            contents.insert(0, content)
            joiners.insert(0, " or " if _OR.search(gap) else ", ")
        last = box
    return contents[0] + "".join(map("".join, zip(joiners, contents[1:], strict=True)))


def _with_unit(content: str, behind: str) -> str:
    r"""The content with a unit that stands behind its box: `\boxed{7}\text{ cm}`."""
    found = _BEHIND.match(behind)
    if found is None or not content or not content.rstrip(" })")[-1:].isdigit():
        return content
    if found["sign"]:
        return content + found["sign"]
    unit = leading_unit(found["words"] or found["wrapped"] + (found["power"] or ""))
    return rf"{content} \text{{ {unit}}}" if unit else content


def _joined(gap: str) -> bool:
    plain = _FORMATTING.sub(" ", gap)
    return _JOINED.fullmatch(plain) is not None and not _NOT_JOINED.search(plain)


def _boxes(text: str) -> list[_Box]:
    """All boxes that are closed. One pass over the text."""
    opened: list[re.Match[str]] = []
    found: list[_Box] = []
    for brace in _BRACE.finditer(text):
        match brace.group():
            case "\\{" | "\\}":
                continue
            case "}":
                opening = opened.pop() if opened else None
                if opening and opening.group() != "{":
                    found.append(_Box(opening.start(), opening.end(), brace.start(), brace.end()))
            case _:
                opened.append(brace)
    return found
