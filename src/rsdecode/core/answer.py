"""Find the final answer in a solution."""

from __future__ import annotations

import re

_BRACE = re.compile(r"\\(?:boxed|fbox)\s*\{|\\[{}]|[{}]")
_STATED = re.compile(r"(?:####|(?:final |the )?answer(?: is:?|:))\s*(?=\S)", re.IGNORECASE)
_NUMBER = re.compile(r"(?:(?<![\w)\]}])-)?\d[\d,]*(?:\.\d+)?(?:/\d+)?")
_IN_DOLLARS = re.compile(r"(?:\$\$?)([^$]*[^$\s])(?:\$\$?)")
_IN_BRACKETS = re.compile(r"\\[(\[](.*?)\\[)\]]")
_SENTENCE_END = re.compile(r"[.!?]\s+(?=[A-Z])")
_MATHEMATICS = re.compile(
    r"[\\^_=+*<>(){}\[\]|π√∞°]|(?<![\w'])[b-zB-HJ-Z](?![\w'])|\d[A-Za-z%]|\b(?:pi|sqrt|log)\b"
)
_LONGEST_STATED = 400


def extract_answer(text: str) -> str | None:
    r"""The content of the last `\boxed{}`, else a stated answer, else the last number, or None.

    A stated answer follows "####", "answer is" or "answer:" and ends with its line or sentence; of
    one that only puts a number into words ("$18 in total"), the number.
    """
    if (boxed := _last_boxed(text)) is not None:
        return boxed
    if stated := list(_STATED.finditer(text)):
        line = text[stated[-1].end() :].partition("\n")[0]
        return _trim(line[:_LONGEST_STATED])
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
    """The answer itself: the only number of a plain phrase, or else the formula or the words."""
    answer = _SENTENCE_END.split(answer, maxsplit=1)[0].strip().rstrip(".").strip("* ")
    for marks in (_IN_DOLLARS, _IN_BRACKETS):
        formula = marks.match(answer)
        if formula and not marks.search(answer, formula.end()):
            return formula.group(1).strip()
    numbers = _NUMBER.findall(answer)
    if len(numbers) == 1 and not _MATHEMATICS.search(answer):
        return numbers[0].replace(",", "")
    return answer.replace("$", "").rstrip(".").strip("* ")
