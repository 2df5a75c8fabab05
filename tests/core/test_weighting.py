from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsdecode.core.weighting import (
    BinaryStep,
    Clipping,
    Constant,
    Logistic,
    Sigmoidal,
    Weighting,
)

REWARDS = [0.0, 0.1, 0.5, 0.6999999, 0.7, 0.7000001, 0.95, 1.0]
SHARES = st.floats(0.0, 1.0)
WEIGHTINGS = st.one_of(
    SHARES.map(Constant),
    SHARES.map(BinaryStep),
    st.just(Clipping()),
    st.just(Sigmoidal()),
    st.builds(Logistic, st.floats(1e-6, 1e300), SHARES),
)


@pytest.mark.parametrize("reward", REWARDS)
def test_formulas_of_table_1(reward: float) -> None:
    assert Constant(0.3)(reward) == 0.3
    assert BinaryStep()(reward) == (1.0 if reward >= 0.7 else 0.0)
    assert BinaryStep(0.5)(reward) == (1.0 if reward >= 0.5 else 0.0)
    assert Clipping()(reward) == reward
    assert Sigmoidal()(reward) == pytest.approx(reward / (1 + reward))
    assert Logistic(8.0, 0.4)(reward) == pytest.approx(1 / (1 + math.exp(-8.0 * (reward - 0.4))))


def test_rewards_outside_the_unit_interval_are_clipped_where_the_paper_clips() -> None:
    assert Clipping()(-0.5) == 0.0
    assert Clipping()(1.5) == 1.0
    assert Sigmoidal()(-0.5) == 0.0


def test_values_at_the_ends() -> None:
    assert BinaryStep(0.0)(0.0) == 1.0
    assert BinaryStep(1.0)(1.0) == 1.0
    assert BinaryStep(1.0)(0.999999) == 0.0
    assert Sigmoidal()(1.0) == 0.5
    assert Logistic(5.0, 0.7)(0.7) == 0.5


@given(WEIGHTINGS, SHARES)
def test_a_weight_is_a_probability(weighting: Weighting, reward: float) -> None:
    assert 0.0 <= weighting(reward) <= 1.0


@given(WEIGHTINGS, SHARES, SHARES)
def test_a_better_step_is_never_accepted_less(weighting: Weighting, a: float, b: float) -> None:
    low, high = sorted((a, b))
    assert weighting(low) <= weighting(high)


def test_a_steep_logistic_neither_overflows_nor_differs_from_the_step() -> None:
    steep = Logistic(1e308, 0.5)
    assert steep(0.0) < 1e-300
    assert steep(1.0) == 1.0


@pytest.mark.parametrize("bad", [-0.1, 1.1, math.nan, math.inf])
@pytest.mark.parametrize(
    ("make", "name"),
    [(Constant, "constant weight"), (BinaryStep, "threshold"), (lambda d: Logistic(1.0, d), "thr")],
)
def test_a_share_out_of_range_is_named(make: type[Constant], name: str, bad: float) -> None:
    with pytest.raises(ValueError, match=rf"{name}.*{bad!r} is out of range.*\[0, 1\]"):
        make(bad)


@pytest.mark.parametrize("alpha", [0.0, -1.0, math.nan, math.inf])
def test_alpha_must_be_positive(alpha: float) -> None:
    with pytest.raises(ValueError, match=f"alpha {alpha!r} must be a positive number"):
        Logistic(alpha)
