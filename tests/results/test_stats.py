from __future__ import annotations

import random
from statistics import quantiles

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from rsdecode.results.stats import bootstrap, mcnemar, percentile, wilson


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_equals_scipy(counts: tuple[int, int]) -> None:
    successes, trials = counts
    expected = binomtest(successes, trials).proportion_ci(0.95, method="wilson")
    interval = wilson(successes, trials)
    assert interval.estimate == successes / trials
    assert interval.low <= interval.estimate <= interval.high
    assert interval.low == pytest.approx(expected.low, abs=1e-9)
    assert interval.high == pytest.approx(expected.high, abs=1e-9)


def test_the_paired_bootstrap_covers_the_truth() -> None:
    """Two methods that agree often: the interval holds the true difference in about 95 %."""
    draw = random.Random(1)
    covered = 0
    for _ in range(500):
        values = draw.choices([0.0, 1.0, -1.0], [84, 10, 6], k=200)
        _, low, high = bootstrap(values, resamples=300)
        covered += low <= 0.04 <= high
    assert 0.92 < covered / 500 < 0.98


def test_nothing_to_compare() -> None:
    with pytest.raises(ValueError, match="at least one"):
        wilson(0, 0)
    for empty in (lambda: bootstrap([]), lambda: percentile([], 50)):
        with pytest.raises(ValueError, match="at least one"):
            empty()


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_equals_the_binomial_test(won: int, lost: int) -> None:
    expected = binomtest(won, won + lost).pvalue if won + lost else 1.0
    assert mcnemar(won, lost) == pytest.approx(expected, abs=1e-12)


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=40), st.integers(1, 99))
def test_percentiles_equal_those_of_the_standard_library(values: list[float], percent: int) -> None:
    expected = quantiles(values, n=100, method="inclusive")[percent - 1]
    assert percentile(sorted(values), percent) == pytest.approx(expected, rel=1e-9, abs=1e-6)


def test_the_ends_of_percentiles() -> None:
    assert [percentile([1.0, 2.0, 4.0], p) for p in (0, 50, 75, 100)] == [1.0, 2.0, 3.0, 4.0]
    assert percentile([7.0], 99) == 7.0


def test_the_bootstrap_is_seeded_and_near_the_normal_interval() -> None:
    differences = [1.0] * 30 + [-1.0] * 12 + [0.0] * 258
    mean, low, high = bootstrap(differences, seed=3)
    assert (mean, low, high) == bootstrap(differences, seed=3)
    uneven = [value + at / 1e3 for at, value in enumerate(differences)]
    assert bootstrap(uneven, seed=3) != bootstrap(uneven, seed=4)
    won, lost, n = 30, 12, 300
    half = 1.96 * (won + lost - (won - lost) ** 2 / n) ** 0.5 / n
    assert mean == (won - lost) / n
    assert (low, high) == pytest.approx((mean - half, mean + half), abs=0.006)
    assert bootstrap([0.5] * 9) == (0.5, 0.5, 0.5)
