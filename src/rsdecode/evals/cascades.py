"""Finds the bounds of a cascade: where its first reward is clear enough for the second not to ask.

Both rewards are read for every draft that a search has looked at. Bounds are then the widest for
which the first decides no more than a share of its clear cases otherwise than the second does, at
the threshold that was found with the second alone. How large that share may be is tried from a
tenth downwards, and each cascade is run: the first that meets the goal asks the second the least.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, NamedTuple

from rsdecode.core.protocols import RewardModel
from rsdecode.core.requests import Failed, Score, Scored
from rsdecode.evals.tune import Goal, Point, shortest_between
from rsdecode.rewards.joined import JoinedReward

SHARES = (0.1, 0.05, 0.02, 0.01, 0.0)
"""Clear cases that the first reward may decide otherwise, tried in this order."""


class Pair(NamedTuple):
    """The two rewards of one step."""

    first: float
    second: float


class Bounds(NamedTuple):
    """Of a cascade's first reward: below `low` a step is bad, from `high` on it is good."""

    low: float
    high: float

    def asks(self, pairs: Sequence[Pair]) -> float:
        """The share of steps that the second reward is asked about."""
        return sum(self.low <= pair.first < self.high for pair in pairs) / len(pairs)


class BothRewards(JoinedReward):
    """Gives the second of two rewards, and notes both.

    Args:
        first: of a cascade.
        second: of the cascade.

    Attributes:
        pairs: of every step that was scored.
    """

    def __init__(self, first: RewardModel, second: RewardModel) -> None:
        super().__init__(first, second, "cascade")
        self.pairs: list[Pair] = []

    async def score(self, requests: Sequence[Score]) -> list[Scored | Failed]:
        """Score all requests with both; replies of the second, in their order."""
        first, second = self.parts
        ours, theirs = await first.score(requests), await second.score(requests)
        for one, other in zip(ours, theirs, strict=True):
            if isinstance(one, Scored) and isinstance(other, Scored):
                self.pairs += map(Pair, one.rewards, other.rewards)
        return [
            one if isinstance(one, Failed) else other
            for one, other in zip(ours, theirs, strict=True)
        ]


def bounds_for(pairs: Sequence[Pair], threshold: float, share: float) -> Bounds:
    """The widest bounds for which at most a share of clear cases are decided otherwise.

    Args:
        pairs: of steps; one at least.
        threshold: from which on the second reward accepts.
        share: of the steps below `low` that the second accepts, and of those from `high` on that it
            rejects, at most.
    """
    ordered = sorted(pairs)
    accepts = [pair.second >= threshold for pair in ordered]
    firsts = [pair.first for pair in ordered]
    cuts = [0, *(i for i in range(1, len(firsts)) if firsts[i - 1] < firsts[i]), len(firsts)]
    good_below = list(accumulate(accepts, initial=0))
    bad_above = list(accumulate((not a for a in reversed(accepts)), initial=0))[::-1]
    high = min(cut for cut in cuts if bad_above[cut] <= share * (len(firsts) - cut))
    below = cuts if firsts[-1] < 1.0 else cuts[:-1]  # nothing is below a bound with a reward of 1
    low = max(cut for cut in below if cut <= high and good_below[cut] <= share * cut)
    return Bounds(_bound(firsts, low), _bound(firsts, high))


def _bound(firsts: Sequence[float], cut: int) -> float:
    """A number that parts the rewards before a cut from those behind it."""
    if 0 < cut < len(firsts):
        return shortest_between(firsts[cut - 1], firsts[cut])
    return 1.0 if cut else 0.0


@dataclass(frozen=True, slots=True)
class Cascaded:
    """A cascade that was run.

    Attributes:
        asked: share of the noted steps that lie between its bounds.
        point: what it did on the problems.
    """

    bounds: Bounds
    asked: float
    point: Point


@dataclass(frozen=True, slots=True)
class Cascades:
    """What the search found.

    Attributes:
        tried: all that were run, in their order.
        chosen: the one that meets the goal and asks its second reward least; the nearest if none
            does.
        met: whether it does.
    """

    tried: Sequence[Cascaded]
    chosen: Cascaded
    met: bool

    def as_records(self) -> list[dict[str, Any]]:
        """A JSON object for each that was run."""
        return [
            {"bounds": list(each.bounds), "asked": each.asked, **each.point.as_record()}
            for each in self.tried
        ]


RunCascade = Callable[[Bounds], Awaitable[Point]]
"""Runs a cascade at the threshold that was found."""


async def cascade_for(
    goal: Goal, pairs: Sequence[Pair], threshold: float, run: RunCascade
) -> Cascades:
    """Run cascades at a threshold of their second reward until one meets a goal."""
    tried: list[Cascaded] = []
    for share in SHARES:
        bounds = bounds_for(pairs, threshold, share)
        if any(bounds == other.bounds for other in tried):
            continue
        tried.append(Cascaded(bounds, bounds.asks(pairs), await run(bounds)))
        if goal.meets(tried[-1].point):
            return Cascades(tried, tried[-1], met=True)
    return Cascades(tried, min(tried, key=lambda each: goal.distance(each.point)), met=False)
