"""Whether the embedded family can read a question: it only knows the words of its own problems."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_SPACE = "Ġ"
"""How a byte-level vocabulary writes the space before a word."""
_PIECES = re.compile(r"\d+[.,/]\d+| ?[^\W\d_]{2,}| ?[^\s\w]|_")
"""Single letters tell nothing: `A` begins many a sentence."""
_WORD = re.compile(r"[^\W\d_]+")
_PUNCTUATION = frozenset(".,?")
_SHOWN = 8
"""Words that one line names at most."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Why a question is outside the family's language.

    Attributes:
        words: those that the tokenizer can only spell byte by byte, which the models never saw;
            signs and numbers with a fraction too.
        no_number: there is no number to calculate with.
        nothing_asked: there is no question mark.
    """

    words: tuple[str, ...]
    no_number: bool
    nothing_asked: bool

    def __bool__(self) -> bool:
        return bool(self.words) or self.no_number or self.nothing_asked


def unreadable(question: str) -> Unreadable:
    """What the family cannot make sense of; false where there is nothing."""
    pieces = (found[0] for found in _PIECES.finditer(question))
    words = [piece.strip() for piece in pieces if not _is_known(piece)]
    return Unreadable(
        tuple(dict.fromkeys(words)),
        no_number=not re.search(r"[0-9]", question),
        nothing_asked="?" not in question,
    )


def language_note(questions: Sequence[str], models: Sequence[str]) -> str | None:
    """One line for people on questions that the family cannot read; None where it can.

    Args:
        questions: that are to be solved.
        models: which of the family solve them, as specs.
    """
    found = [reason for question in questions if (reason := unreadable(question))]
    if not found:
        return None
    who = " and ".join(models)
    which = "this question is"
    if len(questions) > 1:
        which = f"{len(found)} of {len(questions)} questions are"
    return (
        f"{which} outside the language of {who} ({_reasons(found)}): answers will mean little; "
        "name your own models with --draft, --target and --reward (docs/guide/your-models.md), or "
        "try a problem of `rsd demo`"
    )


def _reasons(found: Sequence[Unreadable]) -> str:
    words = list(dict.fromkeys(word for reason in found for word in reason.words))
    reasons: list[str] = []
    if words:
        more = f" and {len(words) - _SHOWN} more" if len(words) > _SHOWN else ""
        reasons.append(f"unknown: {', '.join(words[:_SHOWN])}{more}")
    if any(reason.no_number for reason in found):
        reasons.append("no number")
    if any(reason.nothing_asked for reason in found):
        reasons.append("nothing is asked")
    return "; ".join(reasons)


def _is_known(piece: str) -> bool:
    if piece in _PUNCTUATION:
        return True
    written = piece.replace(" ", _SPACE)
    return written in _vocabulary() and (_SPACE in written or bool(_WORD.fullmatch(written)))


@cache
def _vocabulary() -> frozenset[str]:
    """The entries of the family's tokenizer, which all three models share."""
    text = (Path(__file__).parent / "target" / "tokenizer.json").read_text(encoding="utf-8")
    return frozenset(json.loads(text)["model"]["vocab"])
