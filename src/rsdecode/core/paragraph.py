r"""Reads a growing text for the end of its first paragraph, as a reader of Markdown sees it.

A blank line ends a paragraph, whatever white space it holds, but not

- inside a code fence, or a display formula (`$$`, `\[ \]`, `\begin{} \end{}`);
- after a line that says nothing by itself, but what follows it: a heading (`#` lines, `Step 1:`,
  lines in bold alone that begin a paragraph), a rule (`---`), a lone `<think>` or `</think>`;
- after the rows of a table: only what follows shows that it is over, and so it belongs to it.

What is decided depends on the text up to the end alone: not on what follows, nor on the pieces in
which the text comes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_FENCE = re.compile(r"\s*(?:[-*+]\s+|\d+[.)]\s+)?(`{3,}(?=[^`]*$)|~{3,})(.*)", re.DOTALL)
_HEADING = re.compile(r" {0,3}#{1,6}(\s|$)")
_STRONG = r"(?:\*\*\*?(?!\s)(?:[^*]|\*(?!\*))+\*\*\*?|__(?!\s)[^_]+__)"
_ITEM = r"(?:\d+[.)]|[-*+])\s+"
_TITLE = re.compile(
    rf"{_STRONG}[:.]?"
    rf"|{_ITEM}(?:{_STRONG}:|\*\*(?!\s)(?:[^*]|\*(?!\*))+:\*\*)"  # items of lists only with a colon
    r"|(?:step|part|case)\s+(?:\d+|[a-z]|[ivx]+)\s*[:.)]?"
    r"|\\(?:sub)*section\*?\{.*\}|\\(?:textbf|paragraph)\*?\{[^{}]*\}[:.]?"
    r"|(?:-\s*){3,}|(?:\*\s*){3,}|(?:_\s*){3,}"
    r"|</?(?:think|thinking|seed:think)>|\[/?THINK\]",
    re.IGNORECASE,
)
"""A line that belongs to what follows it, where it begins a paragraph."""
_DELIMITERS = re.compile(r"\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)+\|?|\|\s*:?-+:?\s*\|")
_OPERATOR = re.compile(r"[\s+\-*/=<>≤≥≠·×:,.;&]*|\\(?:le|ge|cdot|times|leq|geq|neq)\b\s*")
_MARKS = re.compile(
    r"\\\\|\\\$|(?P<dollars>\$\$)|(?P<open>\\\[)|(?P<close>\\\])"
    r"|\\begin\{(?P<begin>[^{}\n]*)\}|\\end\{(?P<end>[^{}\n]*)\}"
)
BLANK_LINES = 8
"""Blank lines after which a formula that is still open is taken to be none: a stray `$$`."""


@dataclass(slots=True)
class ParagraphReader:
    """What is known of the text so far. Each character is read once.

    Attributes:
        length: of the text so far.
        end: where its first paragraph ends, with the blank line; None while it goes on.
    """

    length: int = 0
    end: int | None = None
    _line: list[str] = field(default_factory=list[str])
    _begun: bool = False
    _after_blank: bool = True
    _joined: bool = False
    _table: bool = False
    _fence: str = ""
    _formula: str = ""
    _depth: int = 0
    _blanks: int = 0

    def add(self, text: str) -> int | None:
        """Read more text; where the paragraph ends, if it does."""
        *lines, rest = text.split("\n")
        for line in lines:
            self.length += len(line) + 1
            if self.end is None:
                self._read("".join([*self._line, line]))
                self._line.clear()
        self.length += len(rest)
        self._line.append(rest)
        return self.end

    def _read(self, line: str) -> None:
        """A whole line, without its end."""
        if self._fence:
            self._in_fence(line)
        elif line.strip():
            self._content(line)
            self._begun, self._after_blank = True, False
        else:
            self._blank()

    def _blank(self) -> None:
        if self._formula:
            self._blanks += 1
            if self._blanks < BLANK_LINES:
                return
            self._formula = ""
        if self._begun and not self._joined and not self._table:
            self.end = self.length
        self._after_blank = True

    def _in_fence(self, line: str) -> None:
        mark = line.strip()
        if len(mark) >= len(self._fence) and not mark.strip(self._fence[0]):
            self._fence = ""

    def _content(self, line: str) -> None:
        if not self._formula and (fence := _FENCE.match(line)):
            self._fence, self._joined, self._table = fence[1], False, False
            return
        formula = bool(self._formula)
        self._formulas(line)
        if formula or self._formula:
            self._joined = self._table = False
            return
        title = (self._after_blank or self._joined) and _TITLE.fullmatch(line.strip())
        self._joined = bool(title or _HEADING.match(line))
        self._table = _is_row(line.strip(), table=self._table)

    def _formulas(self, line: str) -> None:
        """Follow the marks that open and close display formulas."""
        for mark in _MARKS.finditer(line):
            kind = mark.lastgroup
            if not self._formula and kind in ("dollars", "open", "begin"):
                self._formula, self._depth, self._blanks = kind, 1, 0
            elif self._formula == kind == "dollars" or (self._formula, kind) == ("open", "close"):
                self._formula = ""
            elif self._formula == "begin" and kind in ("begin", "end"):
                self._depth += 1 if kind == "begin" else -1
                self._formula = "begin" if self._depth else ""


def _is_row(line: str, *, table: bool) -> bool:
    """Whether a line is a row of a table, and no formula with absolute values."""
    if _DELIMITERS.fullmatch(line):
        return True
    if len(line) < 3 or not (line.startswith("|") and line.endswith("|")):
        return False
    cells = line[1:-1].split("|")
    return table or (len(cells) > 1 and not any(_OPERATOR.fullmatch(cell) for cell in cells[1::2]))
