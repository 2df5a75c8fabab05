"""From the log-probabilities of a step's tokens to one reward in [0, 1]."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

How = Literal["mean", "min"]


@dataclass(frozen=True, slots=True)
class Pooling:
    """Which number stands for a step of n tokens with the log-probabilities l_1 .. l_n.

    `mean` gives exp((l_1 + .. + l_n) / n^length): the geometric mean of the tokens' probabilities
    at length 1, the probability of the whole step at length 0. `min` gives that of the least
    likely token, whatever the length.

    Raises:
        ValueError: an unknown rule, or a length out of [0, 1].
    """

    how: How = "mean"
    length: float = 1.0

    def __post_init__(self) -> None:
        if self.how not in get_args(How):
            raise ValueError(f"{self.how!r} must be one of {', '.join(get_args(How))}")
        if not 0.0 <= self.length <= 1.0:
            raise ValueError(f"length {self.length!r} must be in [0, 1]")

    def reward(self, logprobs: Sequence[float]) -> float:
        """The reward of a step; that of an empty one is 1."""
        if not logprobs:
            return 1.0
        if self.how == "min":
            return math.exp(min(0.0, *logprobs))
        return math.exp(min(0.0, math.fsum(logprobs) / len(logprobs) ** self.length))

    def __str__(self) -> str:
        if self.how == "min":
            return "probability of the least likely token"
        if self.length == 1.0:
            return "geometric mean of the tokens' probabilities"
        return f"exp(sum of log-probabilities / tokens^{self.length:g})"
