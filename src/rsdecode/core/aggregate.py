"""One reward for a whole answer from the rewards of its steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType


def last(rewards: Sequence[float]) -> float:
    """The reward of the final step."""
    return rewards[-1]


def lowest(rewards: Sequence[float]) -> float:
    """The worst step: a chain is as strong as its weakest link."""
    return min(rewards)


def product(rewards: Sequence[float]) -> float:
    """The probability that all steps are right, were they independent."""
    return math.prod(rewards)


def mean(rewards: Sequence[float]) -> float:
    """The average step."""
    return math.fsum(rewards) / len(rewards)


AGGREGATIONS: Mapping[str, Callable[[Sequence[float]], float]] = MappingProxyType(
    {"last": last, "min": lowest, "product": product, "mean": mean}
)


def aggregate(name: str, rewards: Sequence[float]) -> float:
    """Aggregate by name.

    Raises:
        ValueError: unknown name, or no rewards.
    """
    check_aggregation(name)
    if not rewards:
        raise ValueError("cannot aggregate the rewards of an answer without steps")
    return AGGREGATIONS[name](rewards)


def check_aggregation(name: str) -> None:
    """Check that there is an aggregation of that name.

    Raises:
        ValueError: there is none.
    """
    if name not in AGGREGATIONS:
        raise ValueError(f"unknown aggregation {name!r}: use {', '.join(AGGREGATIONS)}")
