"""Intervals and tests that take problems, not answers, as independent.

Several samples of one problem are alike, so they are one cluster. With one sample of each problem
`clustered_share` is Wilson's interval, `paired_difference` Agresti and Min's, and `paired_p_value`
McNemar's test.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

Z_95 = 1.959963984540054
EXACT = 2_000
"""Problems on which two methods differ, up to which the test by sign flips is exact."""


class Interval(NamedTuple):
    """An estimate and the ends of its 95 % interval."""

    estimate: float
    low: float
    high: float


def wilson(successes: float, trials: float) -> Interval:
    """Share of successes with Wilson's score interval (1927).

    Args:
        successes: of the trials.
        trials: independent ones; a fraction where they are an effective number.

    Raises:
        ValueError: no trials.
    """
    if not trials > 0:
        raise ValueError("a share needs at least one trial")
    share, z2 = successes / trials, Z_95**2
    centre = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    spread = math.sqrt(max(0.0, share * (1 - share)) / trials + z2 / (4 * trials**2))
    half = Z_95 * spread / (1 + z2 / trials)
    low, high = max(0.0, centre - half), min(1.0, centre + half)
    return Interval(share, min(share, low), max(share, high))  # at 0 and 1 but for rounding


def clustered_share(clusters: Sequence[tuple[int, int]]) -> Interval:
    """Share of successes in clusters, with Wilson's interval for their effective number.

    That number is the one of independent trials which would be as uncertain as the clusters are:
    from one for each cluster, where all its trials end alike, to all trials, where they do not
    depend on each other. Their variance is estimated between clusters (a ratio estimator), with a
    correction for few clusters. Where all trials end alike, nothing is known of how clusters
    differ, and each counts as one.

    Args:
        clusters: successes and trials of each; those without trials say nothing.

    Raises:
        ValueError: no trials.
    """
    counted = [(part, whole) for part, whole in clusters if whole]
    n, trials = len(counted), sum(whole for _, whole in counted)
    successes = sum(part for part, _ in counted)
    if trials == n:
        return wilson(successes, trials)
    mean = successes / trials
    clusters_alike = trials**2 / sum(whole**2 for _, whole in counted)
    ratio = 1.0
    if 0 < successes < trials:
        spread = math.fsum((part - mean * whole) ** 2 for part, whole in counted)
        ratio = spread / trials**2 * clusters_alike / (mean * (1 - mean))
        near = (n * mean + 2) / (n + 4)  # not 0 or 1
        few = (_student_95(n - 1) / Z_95) ** 2 if n > 1 else math.inf
        few *= 1 + ratio / (n * near * (1 - near))
        ratio = max(clusters_alike / trials, min(ratio * few, max(1.0, ratio)))
    effective = clusters_alike / ratio
    return wilson(mean * effective, effective)._replace(estimate=mean)


def clustered_ratio(pairs: Sequence[tuple[float, float]]) -> Interval:
    """Sum over sum of what problems have, with the ratio estimator's normal interval.

    Args:
        pairs: part and whole of each problem; the part may be larger than the whole.
    """
    n, total = len(pairs), math.fsum(whole for _, whole in pairs)
    if not total:
        return Interval(0.0, 0.0, 0.0)
    estimate = math.fsum(part for part, _ in pairs) / total
    spread = math.fsum((part - estimate * whole) ** 2 for part, whole in pairs)
    half = Z_95 * math.sqrt(spread * n / max(n - 1, 1)) / total
    return Interval(estimate, estimate - half, estimate + half)


def paired_difference(problems: Sequence[Sequence[int]], z: float = Z_95) -> Interval:
    """Difference of two methods' accuracies, with the adjusted interval of Agresti and Min (2005).

    Half a problem is added to each of the four outcomes of a pair, so that methods that never
    disagree on a few problems are not taken to be the same. With several pairs of a problem its
    difference is their mean, and what is added is as much smaller as the mean varies less than a
    single pair does.

    Args:
        problems: for each the differences of its pairs of answers: 1 where only ours is right, -1
            where only theirs is, else 0.
        z: half the interval's width in standard errors.

    Raises:
        ValueError: no pairs.
    """
    means = [sum(pairs) / len(pairs) for pairs in problems if pairs]
    if not means:
        raise ValueError("a difference needs at least one pair of answers")
    n, total = len(means), math.fsum(means)
    squares = math.fsum(mean * mean for mean in means)
    single = math.fsum(sum(map(abs, pairs)) / len(pairs) for pairs in problems if pairs)
    most = max(map(len, problems))
    added = min(1.0, max(squares / single, 1 / most)) if single else 1.0
    centre = total / (n + 2)
    half = z * math.sqrt(max(0.0, squares + added - total * total / (n + 2))) / (n + 2)
    return Interval(total / n, max(-1.0, centre - half), min(1.0, centre + half))


def paired_p_value(problems: Sequence[Sequence[int]]) -> float:
    """Two-sided p-value that neither method is better: a sign-flip test over problems.

    Under that hypothesis the two methods could change places on each problem, with all its samples.
    The p-value is exact up to `EXACT` problems on which they differ, normal beyond (with a
    correction for whole numbers); with one sample of each problem it is McNemar's (1947), exact for
    any number.

    Args:
        problems: as for `paired_difference`.
    """
    sums = [total for pairs in problems if (total := sum(pairs))]
    won = sum(total for total in sums if total > 0)
    lost = won - sum(sums)
    sizes = Counter(map(abs, sums))
    if len(sizes) <= 1:
        size = next(iter(sizes), 1)
        return mcnemar(won // size, lost // size)
    if len(sums) > EXACT:
        deviation = math.sqrt(sum(total * total for total in sums))
        return math.erfc(max(0, abs(won - lost) - 1) / deviation / math.sqrt(2))
    fewer = min(won, lost)
    chances = [1.0, *[0.0] * fewer]  # of each sum of the problems that one method wins, up to fewer
    for size, count in sizes.items():
        for _ in range(count):
            lower = [0.0] * min(size, fewer + 1) + chances[: max(0, fewer + 1 - size)]
            chances = [(a + b) / 2 for a, b in zip(chances, lower, strict=True)]
    return min(1.0, 2 * math.fsum(chances))


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


def _student_95(degrees: int) -> float:
    """The 97.5 % quantile of Student's t, by Cornish and Fisher's expansion (too low below 3)."""
    z = Z_95
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return z + sum(term / degrees**power for power, term in enumerate(terms, start=1))
