"""Intervals for shares, and for the difference of two methods on the same problems."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import NamedTuple

Z_95 = 1.959963984540054
RESAMPLES = 5_000


class Interval(NamedTuple):
    """An estimate and the ends of its 95 % interval."""

    estimate: float
    low: float
    high: float


def wilson(successes: float, trials: int) -> Interval:
    """Share of successes with Wilson's score interval (1927).

    Args:
        successes: of the trials; a fraction where a trial is itself an average.
        trials: independent ones.

    Raises:
        ValueError: no trials.
    """
    if trials < 1:
        raise ValueError("a share needs at least one trial")
    share, z2 = successes / trials, Z_95**2
    centre = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    spread = math.sqrt(share * (1 - share) / trials + z2 / (4 * trials**2))
    half = Z_95 * spread / (1 + z2 / trials)
    low, high = max(0.0, centre - half), min(1.0, centre + half)
    return Interval(share, min(share, low), max(share, high))  # at 0 and 1 but for rounding


def bootstrap(values: Sequence[float], *, seed: int = 0, resamples: int = RESAMPLES) -> Interval:
    """Mean with its percentile bootstrap interval (Efron, 1979).

    Of the differences of two methods, problem by problem, it is the paired bootstrap.

    Args:
        values: one for each problem.
        seed: of the draws; the same seed gives the same interval.
        resamples: how often the problems are drawn anew.

    Raises:
        ValueError: no values.
    """
    if not values:
        raise ValueError("a mean needs at least one value")
    n, estimate = len(values), math.fsum(values) / len(values)
    if min(values) == max(values):
        return Interval(estimate, estimate, estimate)
    draws = random.Random(seed)
    means = sorted(sum(draws.choices(values, k=n)) / n for _ in range(resamples))
    return Interval(estimate, percentile(means, 2.5), percentile(means, 97.5))


def mcnemar(won: int, lost: int) -> float:
    """Exact two-sided p-value that neither method is better (McNemar, 1947).

    Under that hypothesis each problem that only one of the two solves is a fair coin.
    """
    trials, fewer = won + lost, min(won, lost)
    tail = sum(math.comb(trials, k) for k in range(fewer + 1))
    return min(1.0, 2 * tail / 2**trials)


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Of values in ascending order, interpolated between the two nearest.

    Raises:
        ValueError: no values.
    """
    if not ordered:
        raise ValueError("a percentile needs at least one value")
    place = (len(ordered) - 1) * percent / 100
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)
