from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsdecode.core.aggregate import AGGREGATIONS, aggregate

REWARDS = st.lists(st.floats(0.0, 1.0), min_size=1, max_size=20)


def test_by_hand() -> None:
    rewards = [0.5, 0.8, 0.25, 1.0]
    assert aggregate("last", rewards) == 1.0
    assert aggregate("min", rewards) == 0.25
    assert aggregate("product", rewards) == pytest.approx(0.1)
    assert aggregate("mean", rewards) == pytest.approx(0.6375)


@given(REWARDS)
def test_order_of_the_aggregations(rewards: list[float]) -> None:
    assert aggregate("product", rewards) <= aggregate("min", rewards)
    assert aggregate("min", rewards) <= aggregate("mean", rewards) + 1e-12
    assert aggregate("mean", rewards) <= max(rewards) + 1e-12


@pytest.mark.parametrize("name", AGGREGATIONS)
def test_one_step_is_its_own_aggregate(name: str) -> None:
    assert aggregate(name, [0.4]) == 0.4


def test_errors() -> None:
    with pytest.raises(ValueError, match="unknown aggregation 'max': use last, min, product, mean"):
        aggregate("max", [0.5])
    with pytest.raises(ValueError, match="without steps"):
        aggregate("mean", [])
