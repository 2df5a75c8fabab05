"""Find the final answer in a solution."""

from __future__ import annotations

import re

_BOXED = re.compile(r"\\(?:boxed|fbox)\s*\{")
_STATED = re.compile(r"(?:####|(?:final |the )?answer(?: is|:))\s*(\S[^\n]*)", re.IGNORECASE)
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:/\d+)?")


def extract_answer(text: str) -> str | None:
    r"""The content of the last `\boxed{}`, else a stated answer, else the last number, else None."""
    if (boxed := _last_boxed(text)) is not None:
        return boxed
    if stated := _STATED.findall(text):
        return _trim(stated[-1])
    numbers = _NUMBER.findall(text)
    return numbers[-1].replace(",", "") if numbers else None


def _last_boxed(text: str) -> str | None:
    for match in reversed(list(_BOXED.finditer(text))):
        depth = 1
        for at in range(match.end(), len(text)):
            depth += {"{": 1, "}": -1}.get(text[at], 0)
            if depth == 0:
                return text[match.end() : at].strip()
    return None


def _trim(answer: str) -> str:
    number = _NUMBER.search(answer)
    if number and len(answer) <= len(number.group()) + 40:
        return number.group().replace(",", "")
    return answer.strip().rstrip(".").strip("$* ")
