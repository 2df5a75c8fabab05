"""What grading says, and the kinds of answers that it knows."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class AnswerKind(StrEnum):
    """What a data set's answers are, which decides how they are compared."""

    MATH = "math"
    """Anything that can be written down: numbers, formulas, sets, intervals, matrices, words."""
    NUMBER = "number"
    """A single number; nothing is computed symbolically."""
    CHOICE = "choice"
    """The letter of one of several choices."""


class Rule(StrEnum):
    """What decided a verdict."""

    IDENTICAL = "identical"
    """The same text, but for how it is set."""
    NUMERIC = "numeric"
    """Two numbers, compared exactly."""
    UNITS = "units"
    """Units that contradict each other, or a formula that was turned into another unit."""
    RATIO = "ratio"
    """Ratios, or times of day."""
    CHOICE = "choice"
    """Two letters of choices."""
    TEXT = "text"
    """The reference is words: compared without case, articles and punctuation."""
    PARTS = "parts"
    """Lists, sets, tuples, vectors or matrices, compared part by part."""
    REGION = "region"
    """Intervals and inequalities, compared as parts of the number line."""
    FAMILY = "family"
    """Formulas in which a letter stands for every integer."""
    SYMBOLIC = "symbolic"
    """math-verify compared two expressions."""
    UNREADABLE = "unreadable"
    """The answer, or the reference, is not of the kind, and the texts differ."""
    NO_ANSWER = "no_answer"
    """The text states no answer."""
    NO_REFERENCE = "no_reference"
    """The data set has no answer to this problem."""
    TOO_LONG = "too_long"
    """The answer is longer than any real one, and the text differs."""
    TIMEOUT = "timeout"
    """The comparison did not end in time."""
    CRASH = "crash"
    """The process that compared died."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether an answer is right, and why.

    Attributes:
        extracted: the answer that was found in the text.
        reference: what it was compared with.
        rule: what decided (`Rule`).
    """

    correct: bool
    extracted: str | None
    reference: str
    rule: str
