"""How a reward model wants to read a question and its steps.

A format is pure: it maps text to token ids and knows no network. Each step is tokenised on its own,
so that what was read for one step is an exact prefix of what is read for the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from rsdecode.core.types import Message
from rsdecode.text.vocabulary import Ids

__all__ = ["Format", "Ids", "question_of"]


class Format(Protocol):
    """Token ids of a question and its steps."""

    @property
    def mark(self) -> str:
        """What marks the end of a step, for people."""
        ...

    @property
    def mark_ids(self) -> Ids:
        """The tokens of the mark; none where steps end in no mark."""
        ...

    @property
    def closing_ids(self) -> Ids:
        """Tokens that end the answer after the step that is scored, and only there.

        Empty for process reward models, whose steps all end in a mark: they read every step's
        reward from one sequence.
        """
        ...

    def prompt_ids(self, messages: Sequence[Message]) -> Ids:
        """What comes before the first step."""
        ...

    def step_ids(self, text: str, index: int) -> Ids:
        """Step number `index`, counted from 0; its reward is read at the last of these tokens."""
        ...


def question_of(messages: Sequence[Message]) -> str:
    """The last user message: process reward models were trained on questions alone."""
    return next((m.content for m in reversed(messages) if m.role == "user"), "")
