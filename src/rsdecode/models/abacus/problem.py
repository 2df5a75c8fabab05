"""The value that everything about the abacus task shares."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AbacusProblem:
    """One word problem with its reference solution.

    Attributes:
        id: Stable name, ``<split>-<level>-<index>``.
        question: The word problem, one paragraph of English.
        answer: The final integer, as text.
        level: Difficulty, 1 (two or three steps) to 5 (nine or ten steps).
        steps: The reference solution, one text per step, without separators.
        values: The number that each step but the last one must arrive at.
        skeleton: The structure of the problem: which operations, in which wording, with which
            distractors, but no names, objects or numbers. Splits are disjoint in it.
    """

    id: str
    question: str
    answer: str
    level: int
    steps: tuple[str, ...]
    values: tuple[int, ...]
    skeleton: str
