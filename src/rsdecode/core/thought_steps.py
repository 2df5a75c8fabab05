r"""Where a step ends while a model thinks: paragraphs, words of a new idea, or any boundary.

A step never holds the end of the thoughts and the beginning of the answer: it ends right after the
mark that closes them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache

from rsdecode.core.segment import PARAGRAPH, WHOLE_ANSWER, Boundary, StepReader, parse_boundary
from rsdecode.core.thoughts import THOUGHTS, Thoughts

SHORTEST = 50
"""Characters of a step at least: what is shorter is joined to the paragraph that follows it."""
WORDS = (
    "Wait",
    "Hmm",
    "But",
    "So",
    "Therefore",
    "Thus",
    "Alternatively",
    "However",
    "Now",
    "Next",
    "First",
    "Let me",
    "Let's",
    "Okay",
    "Actually",
)
"""With which thinking models begin a new idea."""
_AFTER_WORD = (" ", ",", ".", ":", "\n")


@dataclass(frozen=True, slots=True)
class ThoughtRule:
    """Where a step of thoughts ends.

    Attributes:
        boundary: that ends it.
        shortest: characters of a step at least; where it would end before, it goes on.
        words: that end a step as well, at the beginning of a line or a sentence. The word belongs
            to the step that it ends, as separators do: a step that ended before it would have to
            draw it once more, and so would find it less often than the model does.
    """

    boundary: Boundary = PARAGRAPH
    shortest: int = SHORTEST
    words: tuple[str, ...] = ()

    def stops(self, closings: tuple[str, ...] = ()) -> tuple[str, ...]:
        """What a server may stop at that knows no more; it may heed the first of them alone."""
        words = (word + after for word in self.words for after in _AFTER_WORD)
        return (*self.boundary.stops, *closings, *words)


UNTIL_CLOSED = ThoughtRule(WHOLE_ANSWER, shortest=0)
"""All thoughts are one step."""


def parse_thought_rule(spec: str, words: tuple[str, ...] = WORDS) -> ThoughtRule:
    """Read `paragraphs[:N]`, `markers[:N]` with N characters at least, or a step boundary.

    Args:
        spec: the rule.
        words: of `markers`.

    Raises:
        ValueError: for anything else.
    """
    kind, colon, value = spec.partition(":")
    if kind not in ("paragraphs", "markers"):
        try:
            return ThoughtRule(parse_boundary(spec), shortest=0)
        except ValueError as error:
            raise ValueError(f"{error}; in thoughts also paragraphs:N or markers:N") from None
    if colon and not value.isdecimal():
        raise ValueError(f"{spec!r} must be {kind}:N with N characters at least, such as {kind}:50")
    shortest = int(value) if colon else SHORTEST
    return ThoughtRule(PARAGRAPH, shortest, words if kind == "markers" else ())


@dataclass(frozen=True, slots=True)
class ThinkingBoundary(Boundary):
    """Ends steps by one rule within thoughts and by another one outside of them.

    Make it with `thinking_boundary`. A text is within thoughts if the context has opened them, or
    if it begins with a mark that does.

    Attributes:
        marks: of thoughts.
        inside: whether the context has opened them.
        within: the rule of thoughts.
        outside: the rule of answers.
    """

    marks: Thoughts = THOUGHTS
    inside: bool = False
    within: ThoughtRule = ThoughtRule()
    outside: Boundary = WHOLE_ANSWER

    def reader(self) -> StepReader:
        """Reads a growing text for the end of its first step."""
        return _ThinkingReader(self)

    def end(self, text: str) -> int | None:
        """Length of the first step in `text`; None if it goes on."""
        return _ThinkingReader(self).add(text)


def thinking_boundary(
    marks: Thoughts, within: ThoughtRule, outside: Boundary, *, inside: bool
) -> ThinkingBoundary:
    """The boundary of a step that is, or may be, one of thoughts.

    Args:
        marks: of thoughts, those that are expected first: servers heed few stop strings.
        within: the rule of thoughts.
        outside: the rule of answers.
        inside: whether the context has opened the thoughts.
    """
    closings = tuple(dict.fromkeys(marks.closings()))
    stops = within.stops(closings) if inside else (*outside.stops, *closings)
    tokens = within.boundary.tokens if inside else outside.tokens
    return ThinkingBoundary(
        stops, tokens, marks=marks, inside=inside, within=within, outside=outside
    )


@dataclass(slots=True)
class _ThinkingReader:
    """A `StepReader` that first finds out whether the step is one of thoughts."""

    boundary: ThinkingBoundary
    _start: str = field(default="", init=False)
    _reader: StepReader | None = field(default=None, init=False)

    def add(self, text: str) -> int | None:
        if self._reader is not None:
            return self._reader.add(text)
        self._start += text
        marks, inside = self.boundary.marks, self.boundary.inside
        begun = self._start.lstrip()
        if not inside and _may_become(begun, tuple(opening for opening, _ in marks.marks)):
            return None
        opening = marks.opening_of(begun)
        if inside or opening is not None:
            self._reader = _ThoughtReader(self.boundary.within, marks.closings(opening))
        else:
            self._reader = self.boundary.outside.reader()
        return self._reader.add(self._start)


def _may_become(text: str, marks: tuple[str, ...]) -> bool:
    """Whether more text may make a longer mark of it."""
    return any(len(text) < len(mark) and mark.startswith(text) for mark in marks)


@dataclass(slots=True)
class _ThoughtReader:
    """Finds the end of a step within thoughts: by its rule, or where the thoughts end."""

    rule: ThoughtRule
    closings: tuple[str, ...]
    _length: int = field(default=0, init=False)
    _tail: str = field(default="", init=False)
    _piece: str = field(default="", init=False)
    _before: int = field(default=0, init=False)
    _reader: StepReader | None = field(default=None, init=False)

    def add(self, text: str) -> int | None:
        ends = [end for end in (self._closed(text), self._ruled(text)) if end is not None]
        return min(ends, default=None)

    def _closed(self, text: str) -> int | None:
        """Where the thoughts end; each character is looked at a few times at most."""
        start = self._length - len(self._tail)
        recent = self._tail + text
        ends = [at + len(c) for c in self.closings if (at := recent.find(c)) >= 0]
        self._length += len(text)
        self._tail = recent[-max(map(len, self.closings), default=1) :]
        return start + min(ends) if ends else None

    def _ruled(self, text: str) -> int | None:
        """Where the rule ends the step: a piece that is too short is joined to the next one."""
        if not self.rule.stops():
            return None
        while True:
            self._reader = self._reader or self.rule.boundary.reader()
            self._piece += text
            end = self._reader.add(text)
            word = self._word()
            if word is not None and (end is None or word <= end):
                return self._before + word
            if end is None:
                return None
            if self._before + len(self._piece[:end].strip()) >= self.rule.shortest:
                return self._before + end
            text = self._piece[end:]
            self._before, self._piece, self._reader = self._before + end, "", None

    def _word(self) -> int | None:
        """The end of the first word in this piece that ends a step that is long enough."""
        if not self.rule.words:
            return None
        for found in _words(self.rule.words).finditer(self._piece):
            if self._before + len(self._piece[: found.start(1)].strip()) >= self.rule.shortest:
                return found.end(1)
        return None


@lru_cache(maxsize=64)
def _words(words: tuple[str, ...]) -> re.Pattern[str]:
    longest = "|".join(map(re.escape, sorted(words, key=len, reverse=True)))
    return re.compile(rf"(?:\n\s*|[.!?:][\"')\]]*\s+)({longest})(?=[\s,.:!?])")
