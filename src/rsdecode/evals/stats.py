"""Intervals for proportions, and for the difference of two methods on the same problems."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

Z_95 = 1.959963984540054


class Interval(NamedTuple):
    """An estimate and the ends of its 95 % interval."""

    estimate: float
    low: float
    high: float


def wilson(successes: int, trials: int) -> Interval:
    """Share of successes with Wilson's score interval (1927).

    Raises:
        ValueError: no trials.
    """
    if trials < 1:
        raise ValueError("a share needs at least one trial")
    share, z2 = successes / trials, Z_95**2
    centre = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    spread = math.sqrt(share * (1 - share) / trials + z2 / (4 * trials**2))
    half = Z_95 * spread / (1 + z2 / trials)
    return Interval(share, max(0.0, centre - half), min(1.0, centre + half))


def paired_difference(ours: Sequence[bool], theirs: Sequence[bool]) -> Interval:
    """Difference of two shares measured on the same problems, ours minus theirs.

    Only problems on which the two disagree carry information: with b of them won and c lost among
    n, the variance of (b - c) / n is (b + c - (b - c)^2 / n) / n^2.

    Raises:
        ValueError: the two are not of the same, positive length.
    """
    n = len(ours)
    if n != len(theirs) or n == 0:
        raise ValueError(f"paired results must be of one length: {n} and {len(theirs)}")
    won = sum(a and not b for a, b in zip(ours, theirs, strict=True))
    lost = sum(b and not a for a, b in zip(ours, theirs, strict=True))
    difference = (won - lost) / n
    half = Z_95 * math.sqrt(won + lost - (won - lost) ** 2 / n) / n
    return Interval(difference, difference - half, difference + half)
