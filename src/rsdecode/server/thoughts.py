"""Parts a text that grows into thoughts and answer, for clients that show them apart."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from rsdecode.core.thoughts import HARMONY_FINAL, Thoughts


class Piece(NamedTuple):
    """New text.

    Attributes:
        text: that is new; never empty.
        thought: whether it is a thought, and no part of the answer.
        at: where it begins in the text that was read.
    """

    text: str
    thought: bool
    at: int = 0


@dataclass(slots=True)
class ThoughtsReader:
    """Reads a text in pieces; what comes out does not depend on how it is cut into pieces.

    The marks themselves, and the white space after them, are in neither part.

    Args:
        thoughts: the marks.
        inside: whether the text begins with thoughts, as the prompt has opened them.
        whole: the marks are part of the thoughts; all pieces joined are the text.
    """

    thoughts: Thoughts
    inside: bool = False
    whole: bool = False
    _held: str = ""
    _read: int = 0
    _after_mark: bool = False
    _closing: str | None = field(default=None)

    def add(self, text: str, *, last: bool = False) -> list[Piece]:
        """Read more.

        Args:
            text: what is new.
            last: nothing follows: what might have become a mark is text.
        """
        pieces: list[Piece] = []
        self._held += text
        while (found := self._next_mark(last=last)) is not None:
            at, mark = found
            self._take(self._held[:at], pieces)
            self._skip(at + len(mark))
            if mark == HARMONY_FINAL and not self.inside:  # an answer without thoughts before it
                self._after_mark = not self.whole
                continue
            self._closing = None if self.inside else dict(self.thoughts.marks)[mark]
            if self.whole:
                pieces.append(Piece(mark, True, self._read - len(mark)))
            self.inside, self._after_mark = not self.inside, not self.whole
        size = len(self._held) if last else len(self._held) - partial(self._held, self._marks)
        self._take(self._held[:size], pieces)
        self._skip(size)
        return pieces

    def _skip(self, count: int) -> None:
        self._held = self._held[count:]
        self._read += count

    @property
    def _marks(self) -> list[str]:
        """What ends the present part."""
        if not self.inside:
            finals = {c for _, c in self.thoughts.marks if c == HARMONY_FINAL}
            return [*(opening for opening, _ in self.thoughts.marks), *finals]
        if self._closing is not None:
            return [self._closing]
        return [closing for _, closing in self.thoughts.marks]  # the prompt had the opening one

    def _next_mark(self, *, last: bool) -> tuple[int, str] | None:
        """The first mark and its place; None also where it may yet become a longer one."""
        places = [(at, mark) for mark in self._marks if (at := self._held.find(mark)) >= 0]
        found = min(places, key=lambda place: (place[0], -len(place[1])), default=None)
        if found is None or last:
            return found
        rest = self._held[found[0] :]
        grows = any(mark.startswith(rest) and len(mark) > len(rest) for mark in self._marks)
        return None if grows else found

    def _take(self, text: str, pieces: list[Piece]) -> None:
        end = self._read + len(text)
        if self._after_mark:
            text = text.lstrip()
            self._after_mark = not text
        if text:
            pieces.append(Piece(text, self.inside, end - len(text)))


def partial(text: str, marks: list[str]) -> int:
    """Length of the longest end of `text` that begins one of `marks`, which may go on."""
    longest = 0
    for mark in marks:
        for size in range(min(len(mark) - 1, len(text)), longest, -1):
            if text.endswith(mark[:size]):
                longest = size
                break
    return longest
