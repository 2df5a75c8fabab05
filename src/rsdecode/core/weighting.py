"""Weighting functions w(r): reward in [0, 1] to probability of acceptance (paper, Table 1)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from rsdecode.core.errors import RequestError

Weighting = Callable[[float], float]
"""Anything that maps a reward in [0, 1] to a probability; plain functions are welcome."""


def weight_of(weighting: Weighting, reward: float) -> float:
    """w(reward), checked, so that a function's mistake ends the problem at hand and not the run.

    Raises:
        RequestError: the function raised, or gave no number in [0, 1].
    """
    try:
        weight = float(weighting(reward))
    except Exception as error:
        raise RequestError(
            f"the weighting function {weighting!r} failed at reward {reward!r} "
            f"({type(error).__name__}: {error}): it must return a number in [0, 1]"
        ) from error
    if not 0.0 <= weight <= 1.0:
        raise RequestError(
            f"the weighting function {weighting!r} gave {weight!r} for reward {reward!r}: "
            "it must return a number in [0, 1]"
        )
    return weight


def _in_unit_interval(name: str, value: float) -> None:
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{name} {value!r} is out of range: it must be in [0, 1]")


@dataclass(frozen=True, slots=True)
class Constant:
    """w(r) = p, whatever the reward."""

    p: float

    def __post_init__(self) -> None:
        _in_unit_interval("constant weight", self.p)

    def __call__(self, reward: float) -> float:
        return self.p


@dataclass(frozen=True, slots=True)
class BinaryStep:
    """w(r) = 1(r >= delta): the paper's default, optimal under a target budget (Proposition 2)."""

    delta: float = 0.7

    def __post_init__(self) -> None:
        _in_unit_interval("threshold", self.delta)

    def __call__(self, reward: float) -> float:
        return 1.0 if reward >= self.delta else 0.0


@dataclass(frozen=True, slots=True)
class Clipping:
    """w(r) = min(1, max(0, r))."""

    def __call__(self, reward: float) -> float:
        return min(1.0, max(0.0, reward))


@dataclass(frozen=True, slots=True)
class Sigmoidal:
    """w(r) = max(0, r / (1 + r)); at most 0.5 on [0, 1]."""

    def __call__(self, reward: float) -> float:
        return max(0.0, reward / (1.0 + reward))


@dataclass(frozen=True, slots=True)
class Logistic:
    """w(r) = 1 / (1 + exp(-alpha (r - delta)))."""

    alpha: float = 10.0
    delta: float = 0.7

    def __post_init__(self) -> None:
        if not 0.0 < self.alpha < math.inf:
            raise ValueError(f"alpha {self.alpha!r} must be a positive number")
        _in_unit_interval("threshold", self.delta)

    def __call__(self, reward: float) -> float:
        exponent = -self.alpha * (reward - self.delta)
        return 1.0 / (1.0 + math.exp(min(exponent, 700.0)))
