"""Finds an answer that a text states without a box."""

from __future__ import annotations

import re

from rsdecode.core.numbers import digits_of, numbers_in, plain_number_text
from rsdecode.core.units import leading_unit

_MARKER = re.compile(
    r"""(?P<hash>\#{4})
    | \b(?:answers?|(?-i:ANSWER))\b [*_`]{0,3} (?:\s+(?:to|for|of)\b[^.:=\n]{1,80}?)?
      (?:,\s*(?:therefore|thus|then|hence|so|finally|of\ course|in\ [\w\ ]{1,20}?)\s*,)?
      \s*[*_`]{0,3}\s*
      (?: (?:is|are|was|(?:will|would|must|should|has\ to)\ be|equals?|becomes
            |comes\ (?:out\ )?to|turns\ out\ to\ be)\b (?!\s+(?:not|n't)\b)
          (?:\s+(?:therefore|thus|then|hence|simply|just|also|now|exactly|equal\s+to|given\s+by
                  |as\s+follows)\b)*
          \s*[*_]{0,3}\s*[::]?
        | [::]|=(?!=) | [—–]\s | (?P<cell>\|) | (?P<heading>(?=\r?\n))
      )""",
    re.VERBOSE | re.IGNORECASE,
)
_HEADING = re.compile(r"^[\s#>*_\d.]*(?:(?:the|my)\s+)?(?:(?:final|correct)\s+)?$", re.IGNORECASE)
_FENCE = re.compile(
    r"(?P<fence>`{3,}|~{3,})[^\n`]*\n(?P<inside>.*?)(?:\n\s*(?P=fence)|\Z)", re.DOTALL
)
_DISPLAY = re.compile(
    r"\$\$(?P<dollars>.+?)\$\$|\\\[(?P<square>.+?)\\\]|\\\((?P<round>.+?)\\\)"
    r"|\\begin\{(?P<name>equation|align|gather|displaymath|math)(?P<star>\*?)\}(?P<inside>.+?)"
    r"\\end\{(?P=name)(?P=star)\}|\$(?P<dollar>[^$\n]*[^$\s\\])\$",
    re.DOTALL,
)
_QUOTED = re.compile(r"""["“”«'‘`](?P<inside>[^"“”«»`\n]+?)["”»'’`](?![A-Za-z])""")
_BULLET = re.compile(r"(?:[-*•]|\d{1,2}[.)])\s+(?=\S)")
_SENTENCE_END = re.compile(
    r"[.!?](?:\*\*|__)?[\"”’']?\s+(?=[A-Z(\[*_#>\"“$\\])|[.!?](?:\*\*|__)?[\"”’']?\s*$"
)
_REMARK = re.compile(
    r"(?<=[\d})$*.%])\s+\((?:[^()]*[A-Za-z]{3,}[^()]*|[≈~=][^()]*|[\d.]+\s*\\?%)\)"
)
_REASON = re.compile(
    r",?\s+(?:because|since|which|as\s+(?:required|shown|desired|expected|claimed|wanted)|so\s+that"
    r"|rather\s+than|instead\s+of)\b.*|(?<=[\d})$*%])\s*,?\s+(?:not|(?:and|but)\s+not)\s.*",
    re.DOTALL,
)
_MATHEMATICS = re.compile(
    r"[\\^_=+*<>(){}\[\]|π√∞°/]|(?<![\w'])[b-zB-HJ-Z](?![\w'])|\d[A-Za-z%]|\b(?:pi|sqrt|log)\b"
)
_SIGNS = re.compile(r"[\d^_*/+\-=().,√π∞%\\{}<>≤≥|!:∪°]")
_FUNCTIONS = {"pi", "sqrt", "log", "ln", "sin", "cos", "tan", "x", "or"}
_OPEN_BOX = re.compile(r"\\boxed\s*\{(?=[^}]*$|[^{}]*\{[^{}]*\}[^}]*$)")
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
    return _last_mathematics(text)


def _on_its_own(text: str, at: int) -> bool:
    return _HEADING.match(text[text.rfind("\n", 0, at) + 1 : at]) is not None


def _after(text: str, marker: re.Match[str]) -> str | None:
    """What a marker announces; None if that is nothing."""
    if marker["cell"]:
        return _cell(text, marker)
    rest = text[marker.end() : marker.end() + 4 * _LONGEST]
    rest = _UNDERLINE.sub("\n", rest)
    gap = rest[: len(rest) - len(rest.lstrip(" \t\r\n*_:>"))]
    rest = rest[len(gap) :]
    if fence := _FENCE.match(rest):
        return _trim(fence["inside"].strip().rpartition("\n")[2].strip())
    if rest.startswith("|"):
        return _table(rest)
    if (display := _DISPLAY.match(rest)) and display["dollar"] is None:
        after = rest[display.end() :].partition("\n")[0]
        if display["round"] is None or not _DISPLAY.search(after):
            return _formula(display, after)
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


def _formula(found: re.Match[str], after: str) -> str:
    r"""What a formula holds, with the unit behind it; of `\begin{align}` the last line."""
    inside = next(
        found[name]
        for name in ("dollars", "square", "round", "inside", "dollar")
        if found[name] is not None
    )
    if found["name"]:
        inside = re.sub(r"\\(?:nonumber|tag\{[^{}]*\}|label\{[^{}]*\})", "", inside)
        inside = [line for line in inside.split(r"\\") if line.strip()][-1].replace("&", "")
    inside = inside.strip().rstrip(".,;").strip()
    unit = leading_unit(after.lstrip()) if after[:1] in (" ", "-") else ""
    return f"{inside} \\text{{ {unit}}}" if unit and not unit.startswith("dollar") else inside


def _trim(line: str) -> str | None:
    """The answer itself: the only number of a plain phrase, or else the formula or the words."""
    line = _REMARK.sub("", line.strip())
    if quoted := _QUOTED.match(line):
        return _trim(quoted["inside"]) if len(quoted["inside"]) < len(line) else None
    formula = _DISPLAY.match(line)
    if formula:
        after = " " * line[formula.end() :].startswith((" ", "-")) + _cut(line[formula.end() :])
        if not _DISPLAY.search(after):
            return _formula(formula, after)
    answer = _cut(line)
    if not answer:
        return None
    formulas = list(_DISPLAY.finditer(answer))
    if len(formulas) == 1 and not re.search(r"[\d,=<>\\]", answer[: formulas[0].start()]):
        after = answer[formulas[0].end() :]
        if not re.search(r"[\d=<>\\]|\b(?:or|and)\b", after):
            return _formula(formulas[0], after)
    plain = plain_number_text(answer)
    numbers = list(numbers_in(plain))
    if len(numbers) == 1 and not _MATHEMATICS.search(plain.replace(numbers[0].group(), "0")):
        return _with_unit(numbers[0], plain)
    return re.sub(r"\\[()\[\]]|\$", "", answer).strip().rstrip(".").strip("* ") or None


def _cut(text: str) -> str:
    """The text to the end of its sentence, or to where it gives a reason."""
    sentence = _SENTENCE_END.split(text, maxsplit=1)[0]
    return _REASON.sub("", sentence).strip().rstrip(".,;").strip("*_` ").rstrip(".")


def _with_unit(number: re.Match[str], text: str) -> str:
    unit = leading_unit(text[number.end() :].lstrip(" -"))
    digits = digits_of(number.group())
    return f"{digits} {unit}" if unit and not unit.startswith("dollar") else digits


def _last_mathematics(text: str) -> str | None:
    """The last number of a text, or the formula that it belongs to."""
    text = _OPEN_BOX.sub("", _REMARK.sub("", text.rstrip()))
    formulas = [found for found in _DISPLAY.finditer(text) if _says_something(found.group())]
    start = formulas[-1].end() if formulas else 0
    rest = _DISPLAY.sub(lambda found: " " * len(found.group()), text[start:])
    if (expression := _expression(rest)) is not None:
        return expression
    if not formulas:
        return None
    found = formulas[-1]
    return _right_side(_formula(found, text[found.end() :].partition("\n")[0]))


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
        words = list(re.finditer(r"\S+", plain))
        at = next(i for i, word in enumerate(words) if word.end() >= last.end())
        first = at
        while first and _belongs(words[first - 1].group(), words[first].group()):
            first -= 1
        end = at
        while end + 1 < len(words) and _belongs(words[end + 1].group(), words[end].group()):
            end += 1
        first = _with_opening(plain, words, first, end)
        run = plain[words[first].start() : words[end].end()].strip("*`\"“”'$?!;:, ").rstrip(".,")
        run = _right_side(run.strip("*`\"“”'$ ").strip("=+* ").rstrip("-/("))
        if len(list(numbers_in(run))) == 1 and not _MATHEMATICS.search(run.replace("/", "")):
            only = next(numbers_in(run))
            if only.group() == last.group() and at == end:
                return _with_unit(last, plain)
            return digits_of(only.group())
        return run
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
    if word.endswith((".", "?", "!", ";", ":")) and not re.fullmatch(r"\d+\.\d*", word):
        return False
    is_operator = operator.fullmatch(word) is not None
    next_to = operator.fullmatch(neighbour) is not None
    plain = re.fullmatch(r"[\w^*/+\-().,√π∞%\\{}|!]+", word) is not None
    operand = plain and (
        re.search(r"[\d^√π\\]", word) is not None
        or (len(word) == 1 and word not in "aAI")
        or word in _FUNCTIONS
    )
    return is_operator or (next_to and operand)


def _right_side(formula: str) -> str:
    """What follows the last equals sign of `3 + 4 = 7`, if it is short of a second unknown."""
    if re.search(r"[<>≤≥]|\\(?:le|ge|lt|gt|begin|ne)", formula) or "=" not in formula:
        return formula
    side = formula.rpartition("=")[2].strip()
    return side if re.search(r"\d", side) and "," not in formula else formula
