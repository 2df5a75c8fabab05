from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from rsdecode.core.acceptance import accept
from rsdecode.core.seeds import derive_seed

SEEDS = st.integers(0, 2**64 - 1)


@given(SEEDS)
def test_certain_at_the_ends_whatever_the_seed(seed: int) -> None:
    assert accept(1.0, seed) is True
    assert accept(0.0, seed) is False


@given(st.floats(0.0, 1.0), SEEDS)
def test_the_same_seed_decides_the_same(weight: float, seed: int) -> None:
    assert accept(weight, seed) == accept(weight, seed)


@given(st.floats(0.0, 1.0), st.floats(0.0, 1.0), SEEDS)
def test_a_larger_weight_accepts_whatever_a_smaller_one_does(a: float, b: float, seed: int) -> None:
    low, high = sorted((a, b))
    assert accept(high, seed) or not accept(low, seed)


@pytest.mark.parametrize("weight", [0.05, 0.3, 0.5, 0.9])
def test_frequency_is_the_weight(weight: float) -> None:
    draws = [accept(weight, derive_seed(1, str(i), 0, 0, "accept", 0)) for i in range(20_000)]
    assert binomtest(sum(draws), len(draws), weight).pvalue > 0.001


@pytest.mark.parametrize("weight", [-0.01, 1.01, math.nan])
def test_a_weight_out_of_range_is_an_error(weight: float) -> None:
    with pytest.raises(ValueError, match=rf"weight {weight!r} must be in \[0, 1\].*weighting"):
        accept(weight, 0)
