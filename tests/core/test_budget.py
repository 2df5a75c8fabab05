from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsdecode.core.budget import Budget

SHARES = st.floats(0.0, 1.0)


def target_share(budget: Budget, rewards: list[float]) -> float:
    calls = 0
    for reward in rewards:
        called = budget(reward) == 0.0
        calls += called
        budget = budget.after(target_called=called)
    return calls / len(rewards)


@given(
    st.builds(Budget, SHARES, st.floats(-3.0, 3.0), st.floats(0.01, 1.0)),
    st.lists(SHARES, min_size=1, max_size=200),
)
def test_the_share_of_target_calls_keeps_to_the_bound(budget: Budget, rewards: list[float]) -> None:
    start, rate = budget.threshold, budget.rate
    bound = (max(start, 1.0 - start) + rate) / (rate * len(rewards))
    assert abs(target_share(budget, rewards) - budget.gamma) <= bound + 1e-9


@pytest.mark.parametrize("reward", [0.0, 1.0])
def test_the_bound_is_close_to_tight(reward: float) -> None:
    """The worst sequence: all rewards at one end, the threshold at the other."""
    start, rate, steps = 1.0 - reward, 0.1, 9
    budget = Budget(1.0 if reward else 0.0, threshold=start, rate=rate)
    share = target_share(budget, [reward] * steps)
    assert abs(share - budget.gamma) > 0.8 * (1.0 + rate) / (rate * steps) * (1.0 - rate)


def test_the_threshold_settles_at_the_quantile_of_the_rewards() -> None:
    draw = random.Random(0)
    budget = Budget(0.3, threshold=0.9, rate=0.02)
    seen: list[float] = []
    for _ in range(5000):
        budget = budget.after(target_called=budget(draw.random()) == 0.0)
        seen.append(budget.threshold)
    settled = seen[1000:]
    assert sum(settled) / len(settled) == pytest.approx(0.3, abs=0.03)


def test_one_step_by_hand() -> None:
    budget = Budget(0.25, threshold=0.5, rate=0.2)
    assert budget(0.5) == 1.0
    assert budget(0.49) == 0.0
    assert budget.after(target_called=True).threshold == pytest.approx(0.5 - 0.2 * 0.75)
    assert budget.after(target_called=False).threshold == pytest.approx(0.5 + 0.2 * 0.25)
    assert budget.threshold == 0.5


@pytest.mark.parametrize("gamma", [-0.1, 1.1, math.nan])
def test_gamma_out_of_range(gamma: float) -> None:
    with pytest.raises(ValueError, match=rf"budget {gamma!r}.*\[0, 1\]"):
        Budget(gamma)


@pytest.mark.parametrize("rate", [0.0, -0.1, 1.5, math.nan])
def test_rate_out_of_range(rate: float) -> None:
    with pytest.raises(ValueError, match=rf"budget rate {rate!r} must be in \(0, 1\]"):
        Budget(0.5, rate=rate)


@pytest.mark.parametrize("threshold", [math.nan, math.inf])
def test_threshold_that_is_no_number(threshold: float) -> None:
    with pytest.raises(ValueError, match=f"budget threshold {threshold!r}.*finite"):
        Budget(0.5, threshold)
