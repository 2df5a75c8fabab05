"""Accept a draft step with probability w (paper, Algorithm 1, line 3)."""

from __future__ import annotations

import random


def accept(weight: float, seed: int) -> bool:
    """A Bernoulli draw; certain, and without a draw, at weights 0 and 1.

    Args:
        weight: w(r) in [0, 1].
        seed: derived from (seed, problem, sample, step), so that the outcome is reproducible.

    Raises:
        ValueError: `weight` is not in [0, 1].
    """
    if not 0.0 <= weight <= 1.0:
        raise ValueError(f"weight {weight!r} must be in [0, 1]; check the weighting function")
    if weight in (0.0, 1.0):
        return weight == 1.0
    return random.Random(seed).random() < weight
