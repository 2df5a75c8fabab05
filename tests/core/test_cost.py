from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsdecode.core.cost import (
    Flops,
    ModelShape,
    attended_tokens,
    exact_flops,
    flops,
    paper_flops,
)
from rsdecode.core.types import Ledger, Role, Usage

# Two layers, hidden 8, two heads of 4, MLP 16, vocabulary 10.
LAYER = 4 * 8 * 8 + 3 * 8 * 16
TIED = ModelShape(
    parameters=2 * LAYER + 10 * 8,
    layers=2,
    attention_width=8,
    hidden=8,
    vocabulary=10,
    embedding_parameters=10 * 8,
)
UNTIED = ModelShape(
    parameters=2 * LAYER + 2 * 10 * 8,
    layers=2,
    attention_width=8,
    hidden=8,
    vocabulary=10,
    embedding_parameters=10 * 8,
    tied=False,
)


def usage(cached: int, prefill: int, decoded: int) -> Usage:
    """One request; the last decoded token is sampled but never read."""
    forwarded = prefill + decoded - 1
    return Usage(prefill, cached, decoded, 1, 0.0, attended_tokens(cached, forwarded))


def forward_flops(cached: int, prefill: int, decoded: int) -> float:
    """Matrix multiplications of a request, counted token by token."""
    total = 0.0
    for position in range(cached, cached + prefill + decoded - 1):
        keys = position + 1
        projections_and_mlp = 2 * (2 * LAYER)
        attention = 2 * (2 * 8 * keys + 2 * 8 * keys)  # per layer: q.k and p.v
        total += projections_and_mlp + attention
    return total + decoded * 2 * 8 * 10  # the output layer, where a token is sampled


@given(st.integers(0, 200), st.integers(0, 200))
def test_attended_tokens_is_the_sum(cached: int, computed: int) -> None:
    assert attended_tokens(cached, computed) == sum(cached + i + 1 for i in range(computed))


@given(st.integers(0, 99), st.integers(0, 99), st.integers(0, 99))
def test_attended_tokens_in_two_pieces(cached: int, a: int, b: int) -> None:
    whole = attended_tokens(cached, a + b)
    assert whole == attended_tokens(cached, a) + attended_tokens(cached + a, b)


@pytest.mark.parametrize("shape", [TIED, UNTIED])
def test_matmul_parameters_leave_out_embedding_and_output(shape: ModelShape) -> None:
    assert shape.matmul_parameters == 2 * LAYER


@pytest.mark.parametrize("shape", [TIED, UNTIED])
@pytest.mark.parametrize("sizes", [(0, 5, 1), (0, 5, 7), (30, 4, 3), (12, 0, 2)])
def test_exact_count_by_hand(shape: ModelShape, sizes: tuple[int, int, int]) -> None:
    assert exact_flops(usage(*sizes), shape) == forward_flops(*sizes)


def test_cached_tokens_are_free() -> None:
    fresh, reused = usage(0, 40, 5), usage(30, 10, 5)
    saved = exact_flops(fresh, TIED) - exact_flops(reused, TIED)
    assert saved == forward_flops(0, 30, 1) - 2 * 8 * 10


def test_the_paper_counts_written_tokens_and_those_that_the_reward_model_reads() -> None:
    used = Usage(prefill_tokens=100, cached_tokens=50, decoded_tokens=7, calls=1)
    assert paper_flops(Role.DRAFT, used, TIED) == 2 * TIED.parameters * 7
    assert paper_flops(Role.TARGET, used, TIED) == 2 * TIED.parameters * 7
    assert paper_flops(Role.REWARD, used, TIED) == 2 * TIED.parameters * 107


def test_the_roles_add_up() -> None:
    ledger = Ledger(draft=usage(0, 5, 7), target=usage(0, 6, 2), reward=Usage(9, 0, 0, 1))
    shapes = {Role.DRAFT: TIED, Role.TARGET: UNTIED, Role.REWARD: TIED}
    total = flops(ledger, shapes)
    used = {role: ledger.of(role) for role in Role}
    assert total.paper == sum(paper_flops(role, used[role], shapes[role]) for role in Role)
    assert total.exact == sum(exact_flops(used[role], shapes[role]) for role in Role)


def test_a_missing_shape_makes_both_counts_unknown() -> None:
    ledger = Ledger(draft=usage(0, 5, 7), target=usage(0, 6, 2))
    assert flops(ledger, {Role.DRAFT: TIED}) == Flops(None, None)
    assert flops(ledger, {Role.DRAFT: TIED, Role.TARGET: None}) == Flops(None, None)
    assert Flops(1.0, 2.0) + Flops(None, 3.0) == Flops(None, 5.0)


def test_a_role_without_tokens_needs_no_shape() -> None:
    ledger = Ledger(draft=usage(0, 5, 7), reward=Usage(calls=3, seconds=1.0))
    assert flops(ledger, {Role.DRAFT: TIED}).exact == exact_flops(ledger.draft, TIED)
    assert flops(Ledger(), {}) == Flops(0.0, 0.0)
