"""Which code made a result: a hash of the sources that change what is answered."""

from __future__ import annotations

import functools
import hashlib
import re
from pathlib import Path

import rsdecode

DECIDES_RESULTS = (
    "core",
    "methods",
    "text",
    "backends",
    "rewards",
    "session",
    "models",
    "config/build.py",
    "evals/datasets",
    "evals/grading",
    "evals/runner.py",
)
"""Of the package. What else there is only shows, stores or starts things."""
_DIGITS = 16
_STRING_OR_COMMENT = re.compile(
    r'''"""[^\\"]*(?:(?:\\.|"(?!""))[^\\"]*)*"""'''
    r"|'''(?:\\.|[^\\])*?'''"
    r'|"[^"\\\n]*(?:\\.[^"\\\n]*)*"'
    r"|'[^'\\\n]*(?:\\.[^'\\\n]*)*'"
    r"|\#[^\n]*",
    re.DOTALL,
)
_LINE_END = re.compile(r"[ \t]*(?:#|\n|\Z)")
_BLANK_LINES = re.compile(r"[ \t]*\n(?:[ \t]*\n)*")
_GOES_ON = set("([{,=+-*/%|&<>\\")
"""A string after one of these is part of an expression, wherever it stands."""


@functools.cache
def code_version() -> str:
    """Sixteen hex digits for the sources that decide results, without comments and docstrings.

    Takes about a twentieth of a second, once. An installation without sources has the package's
    version instead.
    """
    root = Path(rsdecode.__file__).parent
    found = hashlib.sha256()
    paths = [path for part in DECIDES_RESULTS for path in _sources(root / part)]
    for path in paths:
        found.update(path.relative_to(root).as_posix().encode() + b"\0")
        found.update(strip_words(path.read_text(encoding="utf-8")).encode() + b"\0")
    return found.hexdigest()[:_DIGITS] if paths else rsdecode.__version__


def strip_words(source: str, docstring: str = "") -> str:
    """A Python source without comments, docstrings and blank lines.

    A parse would take three times as long as a run's start may; that nothing else is lost is
    checked against it, for every file of the package, by the tests.

    Args:
        source: as `ruff format` leaves it: docstrings have triple quotes and lines of their own.
        docstring: what to put in the place of a docstring.
    """
    parts: list[str] = []
    code: list[str] = []
    done = 0
    for match in _STRING_OR_COMMENT.finditer(source):
        start, end = match.span()
        raw = source[start - 1 : start] == "r" and source.startswith('"""', start)
        begin = start - raw
        code.append(source[done:begin])
        done = end
        if source[start] == "#":
            continue
        if source.startswith('"""', start) and _is_statement(source, begin, end):
            code.append(docstring)
            continue
        parts += _BLANK_LINES.sub("\n", "".join(code)), source[begin:end]
        code.clear()
    return "".join([*parts, _BLANK_LINES.sub("\n", "".join(code) + source[done:])])


def _is_statement(source: str, start: int, end: int) -> bool:
    before = source[:start].rstrip(" \t") if start < 200 else source[start - 200 : start]
    before = before.rstrip(" \t")
    alone = not before or before.endswith("\n")
    return alone and bool(_LINE_END.match(source, end)) and before.rstrip()[-1:] not in _GOES_ON


def _sources(path: Path) -> list[Path]:
    return sorted(path.rglob("*.py")) if path.is_dir() else [path] * path.is_file()
