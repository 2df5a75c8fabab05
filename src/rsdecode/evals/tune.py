"""Finds the threshold of RSD that meets a goal, on problems with known answers.

Two thresholds between which no draft was rewarded decide everything alike, so the search works on
the rewards that were observed: it starts at their quantiles and halves what lies between a
threshold that meets the goal and one that does not.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Protocol, TypeVar

from rsdecode.core.cost import ModelShape, flops
from rsdecode.core.types import Role, Trajectory
from rsdecode.results.stats import (
    Z_95,
    Interval,
    clustered_ratio,
    clustered_share,
    paired_difference,
)

GRID = 10
"""Parts of the observed rewards, of equal size, between the thresholds tried first."""
REFINEMENTS = 6
"""Thresholds tried afterwards, at most."""
TESTS = GRID + 1 + REFINEMENTS
"""Thresholds tried in all, at most: what a confidence level is divided among."""
Count = TypeVar("Count", int, float)
TOLERANCE = 0.03
"""A share that is known less exactly is warned about."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one method did on one problem.

    Attributes:
        steps: of the answer.
        by_target: those that the target wrote.
        flops: by the paper's rule; None where a model's shape is not known.
        rewards: of the drafts that were decided on.
    """

    problem: str
    correct: bool
    steps: int
    by_target: int
    flops: float | None
    rewards: tuple[float, ...] = ()


def outcome(
    trajectory: Trajectory, shapes: dict[Role, ModelShape | None], *, correct: bool
) -> Outcome:
    """Sum up a trajectory."""
    steps = trajectory.steps
    return Outcome(
        problem=trajectory.problem.id,
        correct=correct,
        steps=len(steps),
        by_target=sum(step.source is Role.TARGET for step in steps),
        flops=flops(trajectory.ledger, shapes).paper,
        rewards=tuple(step.reward for step in steps if step.reward is not None),
    )


@dataclass(frozen=True, slots=True)
class Point:
    """RSD at one threshold, beside the target alone, on the same problems in the same order."""

    threshold: float
    outcomes: Sequence[Outcome]
    target: Sequence[Outcome]

    @property
    def accuracy(self) -> Interval:
        """Share of right answers, with an interval by problem."""
        return clustered_share(self._by_problem([(int(o.correct), 1) for o in self.outcomes]))

    @property
    def target_calls(self) -> Interval:
        """Share of all steps that the target wrote, with an interval by problem."""
        return clustered_share(self._by_problem([(o.by_target, o.steps) for o in self.outcomes]))

    @property
    def relative_flops(self) -> Interval | None:
        """FLOPs relative to the target alone; None where they are not known."""
        pairs = [(o.flops, t.flops) for o, t in zip(self.outcomes, self.target, strict=True)]
        known = [(ours, theirs) for ours, theirs in pairs if ours is not None and theirs]
        return clustered_ratio(self._by_problem(known)) if len(known) == len(pairs) else None

    def difference(self, z: float = Z_95) -> Interval:
        """Accuracy minus the target's, with the paired interval by problem."""
        problems: defaultdict[str, list[int]] = defaultdict(list)
        for ours, theirs in zip(self.outcomes, self.target, strict=True):
            problems[ours.problem].append(ours.correct - theirs.correct)
        return paired_difference(list(problems.values()), z)

    def _by_problem(self, pairs: Sequence[tuple[Count, Count]]) -> list[tuple[Count, Count]]:
        """Pairs of numbers, one for each outcome, added up by problem."""
        sums: dict[str, tuple[Count, Count]] = {}
        for outcome, (part, whole) in zip(self.outcomes, pairs, strict=True):
            before = sums.get(outcome.problem)
            new = (part, whole) if before is None else (before[0] + part, before[1] + whole)
            sums[outcome.problem] = new
        return list(sums.values())

    def as_record(self) -> dict[str, Any]:
        """A JSON object."""
        relative = self.relative_flops
        return {
            "threshold": self.threshold,
            "problems": len(self.outcomes),
            "accuracy": self.accuracy._asdict(),
            "difference_to_target": self.difference()._asdict(),
            "target_calls": self.target_calls._asdict(),
            "relative_flops": None if relative is None else relative._asdict(),
        }


class Goal(Protocol):
    """What a threshold is to reach."""

    @property
    def highest(self) -> bool:
        """Whether the highest threshold that meets it is wanted; else the lowest."""
        ...

    def meets(self, point: Point) -> bool:
        """Whether a threshold meets it on these problems."""
        ...

    def distance(self, point: Point) -> float:
        """How far a threshold is from meeting it."""
        ...

    def doubt(self, point: Point) -> str | None:
        """Why the problems are too few to tell, and how many would do; None if they are enough."""
        ...


@dataclass(frozen=True, slots=True)
class TargetCalls:
    """The target writes at most this share of the steps."""

    budget: float
    highest: bool = True

    def meets(self, point: Point) -> bool:
        return point.target_calls.estimate <= self.budget

    def distance(self, point: Point) -> float:
        return point.target_calls.estimate - self.budget

    def doubt(self, point: Point) -> str | None:
        return _doubt("the share of steps by the target", point.target_calls, point)


@dataclass(frozen=True, slots=True)
class FlopsBudget:
    """At most this share of the target's FLOPs, by the paper's rule."""

    budget: float
    highest: bool = True

    def meets(self, point: Point) -> bool:
        return self._relative(point).estimate <= self.budget

    def distance(self, point: Point) -> float:
        return self._relative(point).estimate - self.budget

    def doubt(self, point: Point) -> str | None:
        return _doubt("the share of the target's FLOPs", self._relative(point), point)

    @staticmethod
    def _relative(point: Point) -> Interval:
        relative = point.relative_flops
        assert relative is not None  # `tune` is only asked where FLOPs are known
        return relative


@dataclass(frozen=True, slots=True)
class NoWorse:
    """Not worse than the target alone by more than a margin, with a level of confidence.

    Many thresholds are tried, so each is tested at its part of the level (Bonferroni).

    Attributes:
        tests: how many are tried, at most.
    """

    confidence: float = 0.95
    margin: float = 0.0
    highest: bool = False
    tests: int = TESTS

    @property
    def z(self) -> float:
        """Standard errors below the estimate at which the one-sided bound lies."""
        return NormalDist().inv_cdf(1 - (1 - self.confidence) / self.tests)

    def meets(self, point: Point) -> bool:
        return point.difference(self.z).low >= -self.margin

    def distance(self, point: Point) -> float:
        return -self.margin - point.difference(self.z).low

    def doubt(self, point: Point) -> str | None:
        if self.meets(point):
            return None
        n, difference = len(point.outcomes), point.difference(self.z).estimate
        seen = f"on {n} problems threshold {point.threshold:g} is {100 * difference:+.1f} points"
        room = difference + self.margin
        if room <= 0:
            return (
                f"{seen} from the target: more problems will hardly show that it is no more than "
                f"{100 * self.margin:g} points worse; allow more with --margin"
            )
        _, low, high = point.difference(1.0)
        needed = math.ceil(n * ((high - low) / 2 * self.z / room) ** 2)
        return f"{seen}, too few to tell; about {needed} problems would do"


Run = Callable[[float], Awaitable[Point]]
"""Runs RSD at a threshold."""


@dataclass(frozen=True, slots=True)
class Tuned:
    """What the search found.

    Attributes:
        points: every threshold that was tried, in order.
        chosen: the one that meets the goal best.
        met: whether it does.
    """

    points: Sequence[Point]
    chosen: Point
    met: bool


async def tune(goal: Goal, run: Run) -> Tuned:
    """Search for the threshold that meets a goal."""
    first = await run(0.0)
    points = [first, *[await run(threshold) for threshold in start_thresholds(first)]]
    for _ in range(REFINEMENTS):
        threshold = next_threshold(goal, points)
        if threshold is None:
            break
        points.append(await run(threshold))
        points.sort(key=lambda point: point.threshold)
    meeting = [point for point in points if goal.meets(point)]
    if not meeting:
        return Tuned(points, min(points, key=goal.distance), met=False)
    return Tuned(points, meeting[-1 if goal.highest else 0], met=True)


def start_thresholds(first: Point) -> list[float]:
    """Thresholds above 0 that cut the rewards seen at 0 into `GRID` parts, and 1."""
    rewards = sorted(reward for o in first.outcomes for reward in o.rewards)
    found: set[float] = set()
    for part in range(1, GRID if rewards else 1):
        at = rewards[part * len(rewards) // GRID]
        below = max((reward for reward in rewards if reward < at), default=0.0)
        found.add(shortest_between(below, at))
    return sorted(found - {0.0} | {1.0})


def next_threshold(goal: Goal, points: Sequence[Point]) -> float | None:
    """A threshold between the last that meets the goal and its neighbour that does not.

    Args:
        goal: what is wanted.
        points: in ascending order.
    """
    met = [place for place, point in enumerate(points) if goal.meets(point)]
    if not met:
        return None
    place = met[-1] if goal.highest else met[0] - 1
    if not 0 <= place < len(points) - 1:
        return None
    low, high = points[place], points[place + 1]
    seen = {r for point in (low, high) for o in point.outcomes for r in o.rewards}
    between = sorted(r for r in seen if low.threshold <= r < high.threshold)
    if len(between) < 2:
        return None
    middle = len(between) // 2
    return shortest_between(between[middle - 1], between[middle])


def shortest_between(low: float, high: float) -> float:
    """The number with the fewest digits in (low, high], near the middle."""
    middle = (low + high) / 2
    for digits in range(1, 17):
        rounded = round(middle, digits)
        if low < rounded <= high:
            return rounded
    return high


def _doubt(what: str, interval: Interval, point: Point) -> str | None:
    half, n = interval.high - interval.estimate, len(point.outcomes)
    if half <= TOLERANCE:
        return None
    needed = math.ceil(n * (half / TOLERANCE) ** 2)
    return (
        f"from {n} problems {what} is only known to {100 * half:.1f} points either way; "
        f"about {needed} problems would do for {100 * TOLERANCE:g}"
    )
