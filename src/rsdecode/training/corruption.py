"""Wrong steps for nothing: right solutions in which digits are replaced.

Replaced tokens that a model learns to detect at every place are a denser signal than one verdict a
step (ELECTRA, Clark et al. 2020). In a right step of a calculation another digit is an error.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace

from rsdecode.training.solutions import LabelledSolution, LabelledStep

SHARE = 0.1
"""Of the digits, in every second copy; in the others it is one."""


def corrupted_copies(
    solutions: Iterable[LabelledSolution], copies: float, seed: int
) -> list[LabelledSolution]:
    """Copies with replaced digits of the solutions whose steps are all right.

    Args:
        solutions: labelled.
        copies: of each, on average.
        seed: of the choice of digits.
    """
    found: list[LabelledSolution] = []
    for solution in solutions:
        if solution.first_wrong is not None:
            continue
        draw = random.Random(f"{seed}/{solution.id}/{solution.question}")
        count = int(copies) + (draw.random() < copies % 1)
        made = (_corrupted(solution, draw) for _ in range(count))
        found += [copy for copy in made if copy is not None]
    return found


def _corrupted(solution: LabelledSolution, draw: random.Random) -> LabelledSolution | None:
    """None where no step of its writer has a digit."""
    places = [
        (index, place)
        for index, step in enumerate(solution.steps)
        if index >= solution.given
        for place, letter in enumerate(step.text)
        if letter in "0123456789"
    ]
    if not places:
        return None
    chosen = {draw.choice(places)}
    if draw.random() < 0.5:
        chosen |= {place for place in places if draw.random() < SHARE}
    steps, right = list[LabelledStep](), True
    for index, step in enumerate(solution.steps):
        own = [place for at, place in chosen if at == index]
        right = right and not own
        text = _replaced(step.text, sorted(own), draw)
        steps.append(LabelledStep(text, right, float(right), original=step.text))
    return replace(solution, id=f"{solution.id}/replaced", steps=tuple(steps), answer_right=None)


def _replaced(text: str, places: list[int], draw: random.Random) -> str:
    letters = list(text)
    for place in places:
        letters[place] = str((int(letters[place]) + draw.randint(1, 9)) % 10)
    return "".join(letters)
