"""Find the final answer in a solution."""

from __future__ import annotations

import re

_BRACE = re.compile(r"\\(?:boxed|fbox)\s*\{|\\[{}]|[{}]")
_STATED = re.compile(r"(?:####|(?:final |the )?answer(?: is:?|:))\s*(?=\S)", re.IGNORECASE)
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:/\d+)?")


def extract_answer(text: str) -> str | None:
    r"""The content of the last `\boxed{}`, else a stated answer, else the last number, or None."""
    if (boxed := _last_boxed(text)) is not None:
        return boxed
    if stated := list(_STATED.finditer(text)):
        return _trim(text[stated[-1].end() :].partition("\n")[0])
    numbers = _NUMBER.findall(text)
    return numbers[-1].replace(",", "") if numbers else None


def _last_boxed(text: str) -> str | None:
    """The content of the box that opens last, of those that are closed. One pass over the text."""
    opened: list[re.Match[str]] = []
    start, end = -1, -1
    for brace in _BRACE.finditer(text):
        match brace.group():
            case "\\{" | "\\}":
                continue
            case "}":
                opening = opened.pop() if opened else None
                if opening and opening.group() != "{" and opening.end() > start:
                    start, end = opening.end(), brace.start()
            case _:
                opened.append(brace)
    return text[start:end].strip() if start >= 0 else None


def _trim(answer: str) -> str:
    number = _NUMBER.search(answer)
    if number and len(answer) <= len(number.group()) + 40:
        return number.group().replace(",", "")
    return answer.strip().rstrip(".").strip("$* ")
