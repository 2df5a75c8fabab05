"""What goes to stderr: errors, warnings and notes, coloured on a terminal."""

from __future__ import annotations

import sys

RED, YELLOW = "1;31", "1;33"


class InterruptedRun(Exception):
    """Ctrl-C ended a run; the message says what is kept and how to go on."""


class ReaderGone(Exception):
    """Whoever read our output has left."""


def print_error(message: str) -> None:
    """`error: message`."""
    _print(f"{_styled('error:', RED)} {_one_line(message)}")


def print_warning(message: str) -> None:
    """`warning: message`."""
    _print(f"{_styled('warning:', YELLOW)} {_one_line(message)}")


def print_note(message: str) -> None:
    """A plain line."""
    _print(message)


def _print(line: str) -> None:
    encoding = sys.stderr.encoding or "utf-8"
    line = line.encode(encoding, "backslashreplace").decode(encoding)
    print(line, file=sys.stderr, flush=True)


def _one_line(message: str) -> str:
    return " ".join(message.split())


def _styled(word: str, style: str) -> str:
    return f"\x1b[{style}m{word}\x1b[0m" if sys.stderr.isatty() else word
