from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rsdecode.core.seeds import derive_seed

PARTS = st.lists(st.text(max_size=5), max_size=5)


@given(PARTS, PARTS)
def test_different_parts_give_different_seeds(a: list[str], b: list[str]) -> None:
    assert (derive_seed(*a) == derive_seed(*b)) == (a == b)


def test_no_collision_by_moving_a_cut() -> None:
    seeds = {derive_seed(*parts) for parts in [("ab", "c"), ("a", "bc"), ("abc",), ("abc", "")]}
    assert len(seeds) == 4
    assert derive_seed(1, 12) != derive_seed(11, 2)


@given(st.text(), st.integers())
def test_64_bits(text: str, number: int) -> None:
    assert 0 <= derive_seed(text, number) < 2**64


def test_the_value_is_fixed() -> None:
    """Seeds are part of what makes a run reproducible: they must not change between versions."""
    assert derive_seed(0, "problem", 0, 3, "draft", 1) == 12105991908255758030


def test_any_text_can_be_a_problem_id() -> None:
    assert derive_seed("\ud800") != derive_seed("\ud801")
