from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from rsdecode.evals.stats import paired_difference, wilson


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_equals_scipy(counts: tuple[int, int]) -> None:
    successes, trials = counts
    expected = binomtest(successes, trials).proportion_ci(0.95, method="wilson")
    interval = wilson(successes, trials)
    assert interval.estimate == successes / trials
    assert interval.low == pytest.approx(expected.low, abs=1e-9)
    assert interval.high == pytest.approx(expected.high, abs=1e-9)


def test_paired_difference_by_hand() -> None:
    ours = [True] * 60 + [False] * 40
    theirs = [True] * 50 + [False] * 10 + [True] * 4 + [False] * 36
    difference, low, high = paired_difference(ours, theirs)
    assert difference == pytest.approx(0.06)
    half = 1.96 * (10 + 4 - 36 / 100) ** 0.5 / 100
    assert (low, high) == (
        pytest.approx(0.06 - half, abs=1e-4),
        pytest.approx(0.06 + half, abs=1e-4),
    )


def test_paired_difference_covers_the_truth() -> None:
    """Two methods that agree often: the interval holds the true difference in about 95 %."""
    draw = random.Random(1)
    covered = 0
    for _ in range(500):
        pairs = [
            draw.choices([(1, 1), (1, 0), (0, 1), (0, 0)], [60, 10, 6, 24])[0] for _ in range(300)
        ]
        _, low, high = paired_difference([bool(a) for a, _ in pairs], [bool(b) for _, b in pairs])
        covered += low <= 0.04 <= high
    assert 0.92 < covered / 500 < 0.98


def test_nothing_to_compare() -> None:
    with pytest.raises(ValueError, match="at least one"):
        wilson(0, 0)
    with pytest.raises(ValueError, match="one length"):
        paired_difference([True], [True, False])
