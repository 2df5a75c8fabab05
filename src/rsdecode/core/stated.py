"""Finds an answer that a text states without a box."""

from __future__ import annotations

import re

from rsdecode.core.last_formula import (
    DISPLAY,
    MATHEMATICS,
    REMARK,
    formula_of,
    last_mathematics,
    with_unit,
)
from rsdecode.core.numbers import numbers_in, plain_number_text

_MARKER = re.compile(
    r"""(?P<hash>\#{4})
    | <answer> | 故选
    | \b(?:answers?|(?:correct|right|best)\s+(?:option|choice)s?)\b [*_`]{0,3}
      (?:\s+(?:to|for|of)\b[^.:=\n]{1,80}?)?
      (?:,\s*(?:therefore|thus|then|hence|so|finally|of\ course|in\ [\w\ ]{1,20}?)\s*,)?
      \s*[*_`]{0,3}\s*
      (?: (?:is|are|was|(?:will|would|must|should|has\ to)\ be|equals?|becomes
            |comes\ (?:out\ )?to|turns\ out\ to\ be)\b (?!\s+(?:not|n't)\b)
          (?:\s+(?:therefore|thus|then|hence|simply|just|also|now|exactly|equal\s+to|given\s+by
                  |as\s+follows)\b)*
          \s*[*_]{0,3}\s*[:：]?
        | [:：]|=>?(?!=)|→ | [—–]\s | (?P<cell>\|) | (?P<heading>(?=\r?\n))
      )
    | (?:\b(?:respuesta|réponse|antwort|lösung|resposta|risposta|ответ)\b(?:\s+(?:final|finale)\b)?
        |答案|答え|解答|정답|답(?=[은:：])) [*_`]{0,3}\s*
      (?:(?:es|est|ist|lautet|é|è)\b\s*[:：]?|[:：]|[—–-]\s|应?[为為]|等于|[は是은는])""",
    re.VERBOSE | re.IGNORECASE,
)
_HEADING = re.compile(r"^[\s#>*_\d.]*(?:(?:the|my)\s+)?(?:(?:final|correct)\s+)?$", re.IGNORECASE)
_FENCE = re.compile(
    r"(?P<fence>`{3,}|~{3,})[^\n`]*\n(?P<inside>.*?)(?:\n\s*(?P=fence)|\Z)", re.DOTALL
)
_QUOTED = re.compile(r"""["“”«'‘`](?P<inside>[^"“”«»`\n]+?)["”»'’`](?![A-Za-z])""")
_BULLET = re.compile(r"(?:[-*•]|\d{1,2}[.)])\s+(?=\S)")
_SENTENCE_END = re.compile(
    r"[.!?](?:\*\*|__)?[\"”’']?\s+(?=[^\W\da-z_]|[(\[*_#>\"“$\\])|[.!?](?:\*\*|__)?[\"”’']?\s*$"
    r"|[。！？；．]|</answer>"
)
_CONDITION = re.compile(r"\s+(?:when|if|for|out\s+of|in)\s")
_OPTION = re.compile(
    r"\b(?:option|choice)\s+[*(]{0,3}([A-H])[)*]{0,3}\s+(?:is|must\s+be)\s+(?:the\s+)?(?:correct|right|answer)",
    re.IGNORECASE,
)
_SHORT = re.compile(
    r"[\s*_]*((?-i:\(?[A-H]\)?)|yes|no|true|false|no(?:\s+real)?\s+solutions?)[\s*_.]*",
    re.IGNORECASE,
)
_REASON = re.compile(
    r",?\s+(?:because|since|which|as\s+(?:required|shown|desired|expected|claimed|wanted)|so\s+that"
    r"|rather\s+than|instead\s+of)\b.*"
    r"|(?<=[\d})$*%])\s*(?:[:;]|\s[—–])(?=\s+(?:[^a-z]*(?<![a-z\\])[a-z]{3,}\b){2}).*"
    r"|(?<=[\d})$*%]),\s+(?!(?:and|or|where|for|with|when|if)\b)[^\W\d_]{2,}\s[^=<>]*"
    r"|(?<=[\d})$*%]),\s+(?:and|so)\s+(?:we|this|it|that|the|I)\b.*|(?<=[\d})$*%])\s*,?\s+(?:not|(?:and|but)\s+not)\s.*",
    re.DOTALL,
)
_UNDERLINE = re.compile(r"\A\s*\n[=-]{3,}[ \t]*\n")
_LONGEST = 400


def stated_answer(text: str) -> str | None:
    """The answer that follows the last `####`, "the answer is" or "answer:"; else what is last.

    What is last is the last number, or the formula that it belongs to, as a whole.
    """
    for marker in reversed(list(_MARKER.finditer(text))):
        if marker["heading"] is not None and not _on_its_own(text, marker.start()):
            continue
        if answer := _after(text, marker):
            return answer
    if options := _OPTION.findall(text):
        return options[-1]
    if short := _SHORT.fullmatch(text):
        return short[1]
    return last_mathematics(text)


def _on_its_own(text: str, at: int) -> bool:
    return _HEADING.match(text[text.rfind("\n", 0, at) + 1 : at]) is not None


def _after(text: str, marker: re.Match[str]) -> str | None:
    """What a marker announces; None if that is nothing."""
    if marker["cell"]:
        return _cell(text, marker)
    rest = text[marker.end() : marker.end() + 4 * _LONGEST]
    rest = _UNDERLINE.sub("\n", rest)
    gap = rest[: len(rest) - len(rest.lstrip(" \t\r\n*_:：>"))]
    rest = rest[len(gap) :]
    if fence := _FENCE.match(rest):
        return _trim(fence["inside"].strip().rpartition("\n")[2].strip())
    if rest.startswith("|"):
        return _table(rest)
    if (display := DISPLAY.match(rest)) and display["dollar"] is None:
        after = rest[display.end() :].partition("\n")[0]
        if display["round"] is None or not DISPLAY.search(after):
            return formula_of(display, after)
    lines = rest.split("\n")
    if "\n" in gap and (items := _bullets([gap.rpartition("\n")[2] + lines[0], *lines[1:]])):
        return items
    return _trim(lines[0][:_LONGEST])


def _bullets(lines: list[str]) -> str | None:
    """The items of a list that the answer is; None for a number at the end of its sentence."""
    items: list[str] = []
    for line in lines:
        bullet = _BULLET.match(line.strip())
        if bullet is None:
            break
        items.append(_trim(line.strip()[bullet.end() :]) or "")
    if len(items) == 1 and lines[0].strip()[0].isdigit():
        return None
    return ", ".join(filter(None, items)) or None


def _cells(row: str) -> list[str]:
    return [cell.strip(" *_`") for cell in row.strip().strip("|").split("|")]


def _table(rest: str) -> str | None:
    """The last row of a table, without a label in front."""
    rows = [line for line in _lines_of_table(rest) if not set(line) <= set("|-: ")]
    cells = _cells(rows[-1]) if rows else []
    if len(cells) > 1 and re.fullmatch(r"[A-Za-z ]{2,}", cells[0]):
        cells = cells[1:]
    return ", ".join(_trim(cell) or cell for cell in cells if cell) or None


def _lines_of_table(rest: str) -> list[str]:
    lines: list[str] = []
    for line in rest.split("\n"):
        if not line.strip().startswith("|"):
            break
        lines.append(line.strip())
    return lines


def _cell(text: str, marker: re.Match[str]) -> str | None:
    """The cell beside "answer", or the last one below it, where it heads a column."""
    start = text.rfind("\n", 0, marker.start()) + 1
    rows = _lines_of_table(text[start:])
    if not rows:
        return None
    if len(rows) > 2 and set(rows[1]) <= set("|-: "):
        column = text[start : marker.start()].lstrip().removeprefix("|").count("|")
        cells = _cells(rows[-1])
        return (_trim(cells[column]) or None) if column < len(cells) else None
    cells = _cells(text[marker.end() :].partition("\n")[0])
    return (_trim(cells[0]) or None) if cells else None


def _trim(line: str) -> str | None:
    """The answer itself: the only number of a plain phrase, or else the formula or the words."""
    line = REMARK.sub("", line.strip())
    if quoted := _QUOTED.match(line):
        return _trim(quoted["inside"]) if len(quoted["inside"]) < len(line) else None
    formula = DISPLAY.match(line)
    if formula:
        after = " " * line[formula.end() :].startswith((" ", "-")) + _cut(line[formula.end() :])
        if not DISPLAY.search(after):
            return formula_of(formula, after)
    answer = _cut(line)
    if not answer:
        return None
    formulas = list(DISPLAY.finditer(answer))
    if len(formulas) == 1 and not re.search(r"[\d,=<>\\]", answer[: formulas[0].start()]):
        after = answer[formulas[0].end() :]
        if not re.search(r"[\d=<>\\]|\b(?:or|and)\b", after):
            return formula_of(formulas[0], after)
    plain = re.sub(r"\*\*|__|^both\s+", "", plain_number_text(answer))
    numbers = list(numbers_in(plain))
    if numbers and numbers[0].start() == 0:
        unit = with_unit(numbers[0], plain).partition(" ")[2]
        if _CONDITION.match(plain, len(f"{numbers[0].group()} {unit}".strip())):
            return with_unit(numbers[0], plain)
    if len(numbers) == 1 and not MATHEMATICS.search(plain.replace(numbers[0].group(), "0")):
        return with_unit(numbers[0], plain)
    return re.sub(r"\\[()\[\]]|\\?\$|^both\s+", "", answer).strip().rstrip(".").strip("* ") or None


def _cut(text: str) -> str:
    """The text to the end of its sentence, or to where it gives a reason."""
    sentence = _SENTENCE_END.split(text, maxsplit=1)[0]
    return _REASON.sub("", sentence).strip().rstrip(".,;").strip("*_` ").rstrip(".")
