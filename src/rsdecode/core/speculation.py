"""Exact rejection sampling of a proposal (arXiv 2211.17192, Algorithm 1; arXiv 2302.01318).

Whatever the proposal was drawn from, the tokens that come out follow the target's distribution.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple


class Judgement(NamedTuple):
    """What becomes of a proposal.

    Attributes:
        accepted: how many of the proposed tokens stand, from the first on.
        token: the target's own token after them; None when the whole proposal stands and the
            target says nothing about what follows it.
    """

    accepted: int
    token: int | None


def judge(
    proposed: Sequence[int],
    draft: Sequence[Sequence[float]],
    target: Sequence[Sequence[float]],
    uniforms: Sequence[float],
) -> Judgement:
    """Accept token x with probability min(1, p(x) / q(x)); else draw from norm(max(0, p - q)).

    Args:
        proposed: n tokens, an end of sequence included.
        draft: q, the n distributions that they were drawn from.
        target: p, the target's distributions at the same places; one more where the target adds a
            token of its own to a proposal that stands. After an end of sequence nothing follows.
        uniforms: n + 1 numbers in [0, 1): one for each test, the last for the target's token.
    """
    for place, token in enumerate(proposed):
        p, q = target[place], draft[place]
        if uniforms[place] * q[token] >= p[token]:
            return Judgement(place, draw(residual(p, q), uniforms[len(proposed)]))
    accepted = len(proposed)
    follows = len(target) > accepted
    return Judgement(accepted, draw(target[accepted], uniforms[accepted]) if follows else None)


def residual(target: Sequence[float], draft: Sequence[float]) -> list[float]:
    """max(0, p - q), not normalised; p itself where rounding leaves nothing of it."""
    left = [max(0.0, p - q) for p, q in zip(target, draft, strict=True)]
    return left if any(left) else list(target)


def draw(weights: Sequence[float], uniform: float) -> int:
    """First index at which the cumulative weight exceeds `uniform` of the total."""
    cumulative = list(accumulate(weights))
    threshold = uniform * cumulative[-1]
    possible = [index for index, weight in enumerate(weights) if weight > 0.0]
    return next((index for index in possible if cumulative[index] > threshold), possible[-1])


def uniforms(seed: int, count: int) -> list[float]:
    """The numbers in [0, 1) that a seed stands for."""
    source = random.Random(seed)
    return [source.random() for _ in range(count)]
