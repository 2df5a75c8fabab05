from __future__ import annotations

import itertools
import math
import random
import time
from collections.abc import Callable, Sequence
from statistics import NormalDist, quantiles

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from rsdecode.results.stats import (
    EXACT,
    Interval,
    clustered_share,
    mcnemar,
    paired_difference,
    paired_p_value,
    percentile,
    wilson,
)

COUNTS = st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
PAIRS = st.lists(st.lists(st.sampled_from([-1, 0, 1]), min_size=1, max_size=4), min_size=1)


@given(COUNTS)
def test_wilson_equals_scipy(counts: tuple[int, int]) -> None:
    successes, trials = counts
    expected = binomtest(successes, trials).proportion_ci(0.95, method="wilson")
    interval = wilson(successes, trials)
    assert interval.estimate == successes / trials
    assert interval.low <= interval.estimate <= interval.high
    assert interval.low == pytest.approx(expected.low, abs=1e-9)
    assert interval.high == pytest.approx(expected.high, abs=1e-9)


@given(COUNTS, st.integers(1, 9))
def test_clusters_of_one_and_clusters_that_agree_are_trials(
    counts: tuple[int, int], size: int
) -> None:
    right, n = counts
    outcomes = [1] * right + [0] * (n - right)
    assert clustered_share([(outcome, 1) for outcome in outcomes]) == wilson(right, n)
    alike = clustered_share([(size * outcome, size) for outcome in outcomes])
    assert alike == pytest.approx(wilson(right, n), abs=1e-9)


@given(
    st.lists(
        st.integers(1, 9).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), min_size=1
    )
)
def test_a_share_is_no_surer_than_its_trials_and_never_degenerate(
    clusters: list[tuple[int, int]],
) -> None:
    right, trials = (sum(counts) for counts in zip(*clusters, strict=True))
    estimate, low, high = clustered_share([*clusters, (0, 0)])
    assert estimate == right / trials
    assert 0 <= low <= estimate <= high <= 1
    assert high - low >= wilson(right, trials).high - wilson(right, trials).low - 1e-9 > 0


def test_nothing_to_compare() -> None:
    empty: list[Callable[[], object]] = [
        lambda: wilson(0, 0),
        lambda: clustered_share([]),
        lambda: clustered_share([(0, 0)]),
        lambda: paired_difference([]),
        lambda: percentile([], 50),
    ]
    for call in empty:
        with pytest.raises(ValueError, match="at least one"):
            call()


@given(st.integers(0, 60), st.integers(0, 60), st.integers(1, 8))
def test_with_samples_that_agree_the_test_is_mcnemars(won: int, lost: int, samples: int) -> None:
    expected = binomtest(won, won + lost).pvalue if won + lost else 1.0
    assert mcnemar(won, lost) == pytest.approx(expected, abs=1e-12)
    problems = [[1] * samples] * won + [[-1] * samples] * lost + [[0] * samples]
    assert paired_p_value(problems) == pytest.approx(expected, abs=1e-12)


def test_eight_samples_of_one_problem_are_one_problem() -> None:
    assert mcnemar(8, 0) < 0.01
    assert paired_p_value([[1] * 8]) == 1.0
    assert paired_difference([[1] * 8]) == paired_difference([[1]])


@given(PAIRS.filter(lambda problems: len(problems) <= 10))
def test_the_sign_flip_test_by_enumeration(problems: list[list[int]]) -> None:
    """All ways in which the two methods could have changed places."""
    sums = [sum(pairs) for pairs in problems]
    flips = itertools.product((1, -1), repeat=len(sums))
    seen = [sum(s * flip for s, flip in zip(sums, signs, strict=True)) for signs in flips]
    expected = sum(abs(total) >= abs(sum(sums)) for total in seen) / len(seen)
    assert paired_p_value(problems) == pytest.approx(expected, abs=1e-12)


def test_beyond_the_exact_test_the_normal_one_agrees() -> None:
    draw = random.Random(2)
    sums = [[draw.choice([-2, -1, 1, 2])] for _ in range(EXACT - 10)]
    sums += [[2], [1]] * 5
    started = time.process_time()
    exact = paired_p_value(sums)
    assert time.process_time() - started < 5
    normal = paired_p_value([*sums, [1], [-1]])
    assert normal == pytest.approx(exact, abs=0.01)


@given(PAIRS)
def test_a_difference_holds_its_estimate_and_mirrors(problems: list[list[int]]) -> None:
    estimate, low, high = paired_difference(problems)
    means = [sum(pairs) / len(pairs) for pairs in problems]
    assert estimate == pytest.approx(sum(means) / len(means))
    assert -1 <= low <= estimate + 1e-12
    assert estimate - 1e-12 <= high <= 1
    assert low < high
    mirrored = paired_difference([[-value for value in pairs] for pairs in problems])
    assert mirrored == pytest.approx((-estimate, -high, -low))


def test_a_difference_by_hand() -> None:
    """Agresti and Min's example of the adjusted interval: half a count in each of four cells."""
    won, lost, n = 9, 3, 60
    estimate, low, high = paired_difference([[1]] * won + [[-1]] * lost + [[0]] * (n - won - lost))
    a, b, m = won + 0.5, lost + 0.5, n + 2
    half = 1.959963984540054 * math.sqrt(a + b - (a - b) ** 2 / m) / m
    assert estimate == (won - lost) / n
    assert (low, high) == pytest.approx(((a - b) / m - half, (a - b) / m + half))


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=40), st.integers(1, 99))
def test_percentiles_equal_those_of_the_standard_library(values: list[float], percent: int) -> None:
    expected = quantiles(values, n=100, method="inclusive")[percent - 1]
    assert percentile(sorted(values), percent) == pytest.approx(expected, rel=1e-9, abs=1e-6)


def test_the_ends_of_percentiles() -> None:
    assert [percentile([1.0, 2.0, 4.0], p) for p in (0, 50, 75, 100)] == [1.0, 2.0, 3.0, 4.0]
    assert percentile([7.0], 99) == 7.0


# Coverage: problems are drawn from a population, methods from a model of it, and the interval must
# hold the population's value in 93 to 97 % of the runs. `alike` is the correlation between samples
# of one problem: none, medium (difficulties differ), or full (a problem is always or never solved).

RUNS = 1_200
ERROR = 2.6 * math.sqrt(0.05 * 0.95 / RUNS)
"""What chance adds at both ends of 93 to 97 %, all cases of a test taken together."""


def chance(draw: random.Random, accuracy: float, alike: float) -> float:
    """One problem's probability of being solved: beta, with the given mean and correlation."""
    if alike in (0.0, 1.0):
        return accuracy if not alike else float(draw.random() < accuracy)
    strength = (1 - alike) / alike
    return draw.betavariate(accuracy * strength, (1 - accuracy) * strength)


def solved_of(draw: random.Random, samples: int, chance: float) -> int:
    return sum(draw.random() < chance for _ in range(samples))


def coverage(intervals: Sequence[tuple[Interval, float]]) -> float:
    return sum(low <= true <= high for (_, low, high), true in intervals) / len(intervals)


@pytest.mark.parametrize("samples", [1, 8])
@pytest.mark.parametrize("alike", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("accuracy", [0.1, 0.5, 0.9])
def test_accuracies_are_covered(samples: int, alike: float, accuracy: float) -> None:
    """30 and 100 problems. Counts are whole, so the coverage for a single accuracy jumps with it by
    up to two points (Brown, Cai and DasGupta, 2001): accuracies near the stated one are averaged.
    """
    draw = random.Random(f"{samples} {alike} {accuracy}")
    for problems in (30, 100):
        runs: list[tuple[Interval, float]] = []
        for _ in range(RUNS if problems == 30 else RUNS // 2):
            true = accuracy + draw.uniform(-0.04, 0.04)
            solved = [chance(draw, true, alike) for _ in range(problems)]
            counts = [(solved_of(draw, samples, p), samples) for p in solved]
            runs.append((clustered_share(counts), true))
        assert 0.93 - ERROR <= coverage(runs) <= 0.97 + ERROR


def paired(
    draw: random.Random, accuracies: tuple[float, float], samples: int, alike: str
) -> list[int]:
    """The differences of one problem; its difficulty is common to both methods for the most part.

    A method solves it where a standard normal variable lies below its threshold: common to all its
    samples (full), half of it common (medium) or its own for each sample (none).
    """
    shared = {"none": 0.0, "medium": 0.5, "full": 1.0}[alike]
    common = draw.gauss()
    solved: list[list[bool]] = []
    for accuracy in accuracies:
        threshold = NormalDist().inv_cdf(accuracy)
        own = math.sqrt(0.6) * common + math.sqrt(0.4) * draw.gauss()
        solved.append(
            [
                math.sqrt(shared) * own + math.sqrt(1 - shared) * draw.gauss() < threshold
                for _ in range(samples)
            ]
        )
    return [a - b for a, b in zip(*solved, strict=True)]


@pytest.mark.parametrize("samples", [1, 8])
@pytest.mark.parametrize("alike", ["none", "medium", "full"])
@pytest.mark.parametrize("accuracies", [(0.2, 0.1), (0.5, 0.5), (0.6, 0.4), (0.9, 0.8)])
def test_differences_are_covered(samples: int, alike: str, accuracies: tuple[float, float]) -> None:
    """40 problems. Where methods are equal the test errs in 5 % of the runs at most."""
    draw = random.Random(f"{samples} {alike} {accuracies}")
    true = accuracies[0] - accuracies[1]
    runs = RUNS // 2 if samples == 1 else RUNS // 4
    found = [[paired(draw, accuracies, samples, alike) for _ in range(40)] for _ in range(runs)]
    error = 2.6 * math.sqrt(0.05 * 0.95 / runs)
    covered = coverage([(paired_difference(problems), true) for problems in found])
    assert 0.93 - error <= covered <= 0.97 + error
    if not true:
        wrong = sum(paired_p_value(problems) <= 0.05 for problems in found) / runs
        assert wrong <= 0.05 + error


@pytest.mark.parametrize("samples", [1, 8])
def test_where_methods_hardly_disagree_the_difference_is_rather_too_wide(samples: int) -> None:
    """About three problems tell the methods apart: any interval with whole counts is coarse."""
    draw = random.Random(samples)
    found = [[paired(draw, (0.9, 0.9), samples, "full") for _ in range(30)] for _ in range(300)]
    assert coverage([(paired_difference(problems), 0.0) for problems in found]) >= 0.95


def test_samples_taken_for_problems_would_not_be_covered() -> None:
    """Why problems are clusters: Wilson's interval over answers holds the truth far too rarely."""
    draw = random.Random(4)
    naive: list[tuple[Interval, float]] = []
    for _ in range(RUNS):
        counts = [solved_of(draw, 8, chance(draw, 0.5, 0.3)) for _ in range(30)]
        naive.append((wilson(sum(counts), 240), 0.5))
    assert coverage(naive) < 0.8
