"""How a model's thoughts begin and end: what its chat template and its tokenizer tell."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from rsdecode.core.requests import Begun
from rsdecode.core.thoughts import HARMONY_FINAL, THOUGHTS, Thoughts, default_closing

HARMONY = ("<|channel|>", "<|message|>", "<|start|>", "<|end|>")
"""Special tokens of gpt-oss that structure a reply; they stay in its text."""
HARMONY_PATTERNS = (
    r"<\|channel\|>(?:analysis|commentary|final)<\|message\|>",
    r"<\|end\|><\|start\|>assistant(?=<\|channel\|>)",
)
"""How they do so. In a reply these are tokens wherever they are spelled; each alone is text."""


class ThoughtForm(NamedTuple):
    """The marks of one model.

    Attributes:
        opening: mark that thoughts begin with.
        closing: text that ends them, with the line breaks of the template.
    """

    opening: str
    closing: str

    def begun(self, prompt: str, marks: Thoughts) -> Begun:
        """How a reply to a prompt begins."""
        opened = marks.opened_by(prompt) or ""
        closed = prompt.rstrip().endswith(marks.closings(self.opening))
        return Begun(opened, thinks=not closed, closing=self.closing)


def thought_form(
    marks: Thoughts, written: str, tokens: Iterable[str], after_thoughts: str
) -> ThoughtForm | None:
    """Find the marks of a model; None where neither template nor tokenizer has any.

    What the template does with thoughts tells more than what it mentions, and that more than names
    in the vocabulary.

    Args:
        marks: those that are looked for, in this order.
        written: all text that the chat template may write.
        tokens: that were added to the vocabulary by name.
        after_thoughts: what the template writes between thoughts and answer, where it tells.
    """
    known = set(tokens)
    for opening, closing in marks.marks:
        if closing in after_thoughts:
            return ThoughtForm(opening, after_thoughts)
    for opening, closing in marks.marks:
        if opening in written or closing in written:
            return ThoughtForm(opening, _of_empty_thoughts(written, opening, closing))
    for opening, closing in marks.marks:
        if (HARMONY[0] if closing.endswith(HARMONY_FINAL) else opening) in known:
            return ThoughtForm(opening, default_closing(closing))
    return None


def _of_empty_thoughts(written: str, opening: str, closing: str) -> str:
    """What ends the empty thoughts that a template writes where it is told not to think."""
    empty = re.search(rf"{re.escape(opening)}(\s*){re.escape(closing)}(\s*)", written)
    if empty is None:
        return default_closing(closing)
    between, after = empty.groups()
    return between[len(between) // 2 :] + closing + after


def shown_tokens(special: Iterable[str]) -> frozenset[str]:
    """Those of a tokenizer's special tokens that belong to a reply: they mark its thoughts."""
    special = set(special)
    marks = {mark for pair in THOUGHTS.marks for mark in pair}
    harmony = HARMONY if HARMONY[0] in special else ()
    return frozenset(special & (marks | set(harmony)))
