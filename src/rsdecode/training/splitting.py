"""Which side of a split a question is on: the same for all of its solutions and near-duplicates."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

from rsdecode.core.errors import ConfigError
from rsdecode.training.solutions import LabelledSolution

_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_WORD = re.compile(r"[^\W_]+")


def group_of(question: str) -> str:
    """What a question has in common with its near-duplicates: its words, whatever the numbers.

    Case, punctuation, white space and the values of numbers are left out.
    """
    words = _WORD.findall(_NUMBER.sub(" 0 ", question.casefold()))
    return hashlib.sha256(" ".join(words).encode("utf-8", "replace")).hexdigest()[:16]


def is_held_out(question: str, share: float, seed: int = 0) -> bool:
    """Whether a question is in the held-out part; it depends on nothing but its group and the seed.

    Raises:
        ConfigError: the share is not in [0, 1).
    """
    if not 0 <= share < 1:
        raise ConfigError(
            f"--held-out {share:g} must be a share of the problems, from 0 to below 1"
        )
    digest = hashlib.sha256(f"{seed} {group_of(question)}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def split(
    solutions: Iterable[LabelledSolution], share: float, seed: int = 0
) -> tuple[list[LabelledSolution], list[LabelledSolution]]:
    """Solutions to train on, and those of held-out problems.

    Raises:
        ConfigError: the share is not in [0, 1).
    """
    kept, held_out = list[LabelledSolution](), list[LabelledSolution]()
    for solution in solutions:
        (held_out if is_held_out(solution.question, share, seed) else kept).append(solution)
    return kept, held_out
