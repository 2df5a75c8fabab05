"""Measures against numbers worked out by hand, and against scikit-like definitions."""

from __future__ import annotations

import random

import pytest

from rsdecode.training.calibrate import fit_scale
from rsdecode.training.measures import (
    ScoredStep,
    accuracy,
    area,
    best_threshold,
    calibration_error,
    first_errors,
    reliability,
    resampled,
)


def steps(*solutions: list[tuple[float, bool]]) -> list[ScoredStep]:
    """Solutions of problems of their own: score and label of each step."""
    return [
        ScoredStep(f"p{n}", f"s{n}", place, score, right)
        for n, own in enumerate(solutions)
        for place, (score, right) in enumerate(own)
    ]


def test_the_area_counts_pairs() -> None:
    draw = random.Random(1)
    made = steps(*[[(draw.randint(0, 5) / 5, draw.random() < 0.6)] for _ in range(60)])
    good = [s.score for s in made if s.right]
    bad = [s.score for s in made if not s.right]
    pairs = [(a > b) + (a == b) / 2 for a in good for b in bad]
    assert area(made) == pytest.approx(sum(pairs) / len(pairs))
    assert area(steps([(0.2, True), (0.9, True)])) is None


def test_first_errors_are_those_of_processbench() -> None:
    made = steps(
        [(0.9, True), (0.2, False), (0.1, False)],  # found
        [(0.9, True), (0.8, False), (0.1, False)],  # found too late
        [(0.3, True), (0.2, False)],  # found too early
        [(0.9, True), (0.8, True)],  # rightly none
        [(0.9, True), (0.4, True)],  # a false alarm
    )
    found = first_errors(made)
    assert found.wrong is not None
    assert found.right is not None
    assert (found.wrong.estimate, found.right.estimate) == (pytest.approx(1 / 3), 0.5)
    assert found.f1 == pytest.approx(2 * (1 / 3) * 0.5 / (1 / 3 + 0.5))
    assert first_errors(steps([(0.9, True)])).f1 is None
    assert best_threshold(made) < 0.5  # 0.35 mends the false alarm and loses nothing


def test_calibration() -> None:
    made = steps([(0.05, False), (0.05, False)], [(0.95, True), (0.95, False)])
    assert [(b.steps, b.right) for b in reliability(made)] == [(2, 0.0), (2, 0.5)]
    assert calibration_error(made) == pytest.approx((2 * 0.05 + 2 * 0.45) / 4)
    assert reliability(steps([(1.0, True)]))[0].high == 1.0


def test_intervals_are_by_problem() -> None:
    """Steps of one problem that are all alike say as much as one."""
    alone = steps(*[[(0.9, n % 2 == 0)] for n in range(40)])
    repeated = [
        ScoredStep(s.problem, f"{s.solution}{k}", 0, s.score, s.right)
        for s in alone
        for k in range(10)
    ]
    for made in (alone, repeated):
        share = accuracy(made)
        assert share.estimate == 0.5
        assert share.high - share.low == pytest.approx(0.294, abs=0.02)
    roc = resampled(steps(*[[(0.8, True), (0.3, False)] for _ in range(20)]), area)
    assert roc == (1.0, 1.0, 1.0)


def test_a_scale_makes_scores_honest() -> None:
    draw = random.Random(2)
    logits = [draw.gauss(0, 1) for _ in range(4000)]
    right = [draw.random() < 1 / (1 + 2.718281828 ** -(2 * x + 1)) for x in logits]
    scale = fit_scale(logits, right)
    assert scale == pytest.approx((2, 1), abs=0.2)
    assert fit_scale(logits[:30], [True] * 30) is None
