"""What the scores of steps are worth: area under ROC, accuracy, first errors, calibration."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

from rsdecode.results.stats import Interval, clustered_share, percentile

BINS = 10
DRAWS = 400
"""Bootstrap samples of problems, for intervals of what is no share."""


@dataclass(frozen=True, slots=True)
class ScoredStep:
    """A step with its score and its label.

    Attributes:
        place: in its solution, from 0.
        kind: of error that its solution is about; None where not known.
    """

    problem: str
    solution: str
    place: int
    score: float
    right: bool
    kind: str | None = None


@dataclass(frozen=True, slots=True)
class FirstErrors:
    """How well the first wrong step is found, as in ProcessBench.

    Attributes:
        wrong: share of solutions with an error whose first wrong step is named.
        right: share of solutions without one in which none is named.
    """

    wrong: Interval | None
    right: Interval | None

    @property
    def f1(self) -> float | None:
        """The harmonic mean of both; None where there are solutions of one kind only."""
        if self.wrong is None or self.right is None:
            return None
        a, b = self.wrong.estimate, self.right.estimate
        return 2 * a * b / (a + b) if a + b else 0.0


@dataclass(frozen=True, slots=True)
class Bin:
    """Steps whose scores are alike.

    Attributes:
        mean: of their scores.
        right: share of them that is right.
    """

    low: float
    high: float
    steps: int
    mean: float
    right: float


def area(steps: Sequence[ScoredStep]) -> float | None:
    """The chance that a right step scores above a wrong one, ties counted half.

    None where all steps are right, or all are wrong.
    """
    return _area([(step.score, step.right) for step in steps])


def _area(pairs: Sequence[tuple[float, bool]]) -> float | None:
    ordered = sorted(pairs)
    ranks, below = 0.0, 0
    for _, group in groupby(ordered, key=lambda pair: pair[0]):
        tied = list(group)
        ranks += (below + (len(tied) + 1) / 2) * sum(right for _, right in tied)
        below += len(tied)
    good = sum(right for _, right in ordered)
    bad = len(ordered) - good
    return (ranks - good * (good + 1) / 2) / (good * bad) if good and bad else None


def accuracy(steps: Sequence[ScoredStep], threshold: float = 0.5) -> Interval:
    """Share of steps that a threshold puts on the right side, with an interval by problem."""
    clusters: defaultdict[str, list[bool]] = defaultdict(list)
    for step in steps:
        clusters[step.problem].append((step.score >= threshold) == step.right)
    return clustered_share([(sum(hits), len(hits)) for hits in clusters.values()])


def first_errors(steps: Sequence[ScoredStep], threshold: float = 0.5) -> FirstErrors:
    """The first step below the threshold against the first wrong one, with intervals by problem."""
    found: dict[bool, defaultdict[str, list[bool]]] = {
        True: defaultdict(list), False: defaultdict(list)
    }  # fmt: skip
    for own in by_solution(steps).values():
        named = next((step.place for step in own if step.score < threshold), None)
        wrong = next((step.place for step in own if not step.right), None)
        found[wrong is not None][own[0].problem].append(named == wrong)
    shares = {
        kind: clustered_share([(sum(h), len(h)) for h in hits.values()]) if hits else None
        for kind, hits in found.items()
    }
    return FirstErrors(shares[True], shares[False])


def best_threshold(steps: Sequence[ScoredStep]) -> float:
    """The threshold with the highest F1 of first errors, of nineteen between 0 and 1."""
    grid = [place / 20 for place in range(1, 20)]
    return max(grid, key=lambda t: (first_errors(steps, t).f1 or 0.0, -abs(t - 0.5)))


def reliability(steps: Sequence[ScoredStep], bins: int = BINS) -> list[Bin]:
    """Steps by their score; empty bins are left out."""
    groups: defaultdict[int, list[ScoredStep]] = defaultdict(list)
    for step in steps:
        groups[min(int(step.score * bins), bins - 1)].append(step)
    return [
        Bin(
            place / bins,
            (place + 1) / bins,
            len(own),
            math.fsum(step.score for step in own) / len(own),
            sum(step.right for step in own) / len(own),
        )
        for place, own in sorted(groups.items())
    ]


def calibration_error(steps: Sequence[ScoredStep], bins: int = BINS) -> float:
    """Expected calibration error: mean distance of score and share of right steps, over bins."""
    total = sum(b.steps * abs(b.mean - b.right) for b in reliability(steps, bins))
    return total / max(1, len(steps))


def by_solution(steps: Sequence[ScoredStep]) -> dict[str, list[ScoredStep]]:
    """The steps of each solution, in order."""
    found: defaultdict[str, list[ScoredStep]] = defaultdict(list)
    for step in steps:
        found[step.solution].append(step)
    return {id: sorted(own, key=lambda step: step.place) for id, own in found.items()}


def resampled(
    steps: Sequence[ScoredStep],
    measure: Callable[[Sequence[ScoredStep]], float | None],
    seed: int = 0,
) -> Interval | None:
    """A measure with its 95 % bootstrap interval over problems; None where it is not known."""
    estimate = measure(steps)
    if estimate is None:
        return None
    problems: defaultdict[str, list[ScoredStep]] = defaultdict(list)
    for step in steps:
        problems[step.problem].append(step)
    groups, draw = list(problems.values()), random.Random(seed)
    values: list[float] = []
    for _ in range(DRAWS):
        chosen = [step for own in draw.choices(groups, k=len(groups)) for step in own]
        value = measure(chosen)
        if value is not None:
            values.append(value)
    values.sort()
    if not values:
        return Interval(estimate, estimate, estimate)
    return Interval(estimate, percentile(values, 2.5), percentile(values, 97.5))
