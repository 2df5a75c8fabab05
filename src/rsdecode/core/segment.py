r"""Where a step ends: paragraphs, or `separator:TEXT`, `newline`, `sentence`, `tokens:K`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Protocol

from rsdecode.core.paragraph import ParagraphReader

SENTENCE_ENDS = tuple(mark + space for mark in ".!?" for space in (" ", "\n"))


@dataclass(frozen=True, slots=True)
class Boundary:
    """A step ends after the first stop string, or after a number of tokens.

    Leading white space and separators do not end a step, so no step is made of them alone.

    Attributes:
        stops: strings that end a step; they belong to the step that they end.
        tokens: chunk size in tokens, for steps that are not marked by text; 0 for none.
        paragraphs: a step is a paragraph (see `core.paragraph`), and `stops` only says where a
            server that knows no more may stop: the step goes on if its paragraph does.
    """

    stops: tuple[str, ...] = ()
    tokens: int = 0
    paragraphs: bool = False

    def __post_init__(self) -> None:
        if self.tokens < 0:
            raise ValueError(f"tokens:{self.tokens} must be tokens:K with K >= 1")
        if any(not stop for stop in self.stops):
            raise ValueError("a step separator must not be empty; the default is '\\n\\n'")

    def reader(self) -> StepReader:
        """Reads a growing text for the end of its first step."""
        return ParagraphReader() if self.paragraphs else SeparatorReader(self)

    def end(self, text: str) -> int | None:
        """Length of the first step in `text`, its separator included; None if it goes on."""
        if self.paragraphs:
            return ParagraphReader().add(text)
        start = self._lead(text)
        ends = [at + len(stop) for stop in self.stops if (at := text.find(stop, start)) >= 0]
        return min(ends, default=None)

    def split(self, text: str) -> list[str]:
        """Cut a whole answer into its steps; joined they are `text` again."""
        steps: list[str] = []
        while (end := self.end(text)) is not None and self._lead(text[end:]) < len(text) - end:
            steps.append(text[:end])
            text = text[end:]
        return [*steps, text] if text else steps

    def _lead(self, text: str) -> int:
        """Length of the white space and separators that `text` starts with."""
        stops = map(re.escape, sorted(self.stops, key=len, reverse=True))
        skipped = "|".join([*stops, r"\s"])
        lead = re.match(f"(?:{skipped})*+", text)
        return lead.end() if lead else 0


class StepReader(Protocol):
    """Finds the end of a step in a text that grows."""

    def add(self, text: str) -> int | None:
        """Read more; the length of the step, its separator included, or None if it goes on."""
        ...


@dataclass(slots=True)
class SeparatorReader:
    """A `StepReader` for steps that a string ends."""

    boundary: Boundary
    _text: str = field(default="", init=False)

    def add(self, text: str) -> int | None:
        """Read more (see `StepReader`)."""
        self._text += text
        return self.boundary.end(self._text)


WHOLE_ANSWER = Boundary()
"""No boundary: the answer is one piece."""

PARAGRAPH = Boundary(("\n\n",), paragraphs=True)
"""The paper's boundary, an empty line, that leaves code, formulas and tables whole."""


def parse_boundary(spec: str) -> Boundary:
    """Read `separator`, `separator:TEXT`, `newline`, `sentence` or `tokens:K`.

    Raises:
        ValueError: for anything else.
    """
    kind, colon, value = spec.partition(":")
    match kind:
        case "separator" if not colon:
            return PARAGRAPH
        case "separator" if value:
            return Boundary((unescaped(value),))
        case "separator":
            raise ValueError(
                f"step boundary {spec!r} names no text: leave out the colon for paragraphs, or "
                "write separator:TEXT"
            )
        case "newline" if not colon:
            return Boundary(("\n",))
        case "sentence" if not colon:
            return Boundary((*SENTENCE_ENDS, "\n\n"))
        case "tokens" if value.isdecimal() and int(value) > 0:
            return Boundary(tokens=int(value))
        case _:
            raise ValueError(
                f"unknown step boundary {spec!r}: use separator, separator:TEXT, newline, "
                "sentence or tokens:K"
            )


def unescaped(text: str) -> str:
    r"""Text with its escapes, such as \n, read; any other character stays as it is."""
    try:
        return text.encode("latin-1", "backslashreplace").decode("unicode_escape")
    except UnicodeDecodeError as error:
        raise ValueError(f"separator {text!r} has a broken escape: {error.reason}") from None
