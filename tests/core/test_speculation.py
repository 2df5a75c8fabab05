from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsdecode.core.speculation import Judgement, draw, judge, residual, uniforms

P, Q = [0.2, 0.5, 0.3], [0.6, 0.1, 0.3]


def one_hot(token: int) -> list[float]:
    return [float(i == token) for i in range(3)]


@pytest.mark.parametrize(
    ("proposed", "target", "verdict"),
    [
        ([1, 2], [1, 2, 0], Judgement(2, 0)),
        ([1, 2], [1, 0, 0], Judgement(1, 0)),
        ([1, 2], [2, 2, 0], Judgement(0, 2)),
        ([1, 0], [1, 0], Judgement(2, None)),
        ([], [2], Judgement(0, 2)),
    ],
)
def test_greedy_is_agreement(proposed: list[int], target: list[int], verdict: Judgement) -> None:
    rows = [one_hot(token) for token in target]
    for numbers in ([0.0] * 3, [0.999] * 3):
        assert judge(proposed, [one_hot(token) for token in proposed], rows, numbers) == verdict


def test_the_rule_by_hand() -> None:
    # token 0: p/q = 1/3; the residual is all on token 1
    assert judge([0], [Q], [P, P], [0.33, 0.1]) == Judgement(1, 0)
    assert judge([0], [Q], [P, P], [0.34, 0.1]) == Judgement(0, 1)
    assert judge([1], [Q], [P, P], [0.999, 0.6]) == Judgement(1, 1)


weights = st.lists(st.integers(0, 9), min_size=3, max_size=3).filter(any)


@given(weights, weights)
def test_accepting_and_resampling_add_up_to_the_target(a: list[int], b: list[int]) -> None:
    p, q = [x / sum(a) for x in a], [x / sum(b) for x in b]
    accepted = [min(x, y) for x, y in zip(p, q, strict=True)]
    left = residual(p, q)
    rest = 1.0 - sum(accepted)
    whole = [x + rest * y / sum(left) for x, y in zip(accepted, left, strict=True)]
    assert whole == pytest.approx(p, abs=1e-12)


@given(weights, st.floats(0, 1, exclude_max=True))
def test_only_what_is_possible_is_drawn(some: list[int], uniform: float) -> None:
    token = draw([float(weight) for weight in some], uniform)
    assert some[token] > 0
    assert sum(some[:token]) <= uniform * sum(some) * (1 + 1e-9)


def test_draws_have_their_frequencies() -> None:
    counts = Counter(draw(P, number) for number in uniforms(5, 20_000))
    assert [counts[i] / 20_000 for i in range(3)] == pytest.approx(P, abs=0.015)


def test_uniforms_of_a_seed() -> None:
    assert uniforms(3, 4) == uniforms(3, 6)[:4] != uniforms(4, 4)
