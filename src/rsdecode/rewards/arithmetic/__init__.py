"""`arithmetic`: checks the equations that a step states. No model, no tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rsdecode.core.requests import Failed, Score, Scored
from rsdecode.core.types import Usage
from rsdecode.rewards.arithmetic.equations import check_equations
from rsdecode.rewards.requests import nothing_to_score


@dataclass(frozen=True, slots=True)
class ArithmeticReward:
    r"""1.0 if every equation of the step holds, 0.0 if one fails, `neutral` if there is none.

    What counts as an equation, and what is left out because it cannot be decided, is written in
    `rewards.arithmetic.equations`. Numbers are exact fractions.

    Attributes:
        neutral: reward of a step without a decidable equation, in [0, 1].

    Raises:
        ValueError: `neutral` is out of range.
    """

    neutral: float = 0.5

    def __post_init__(self) -> None:
        if not 0.0 <= self.neutral <= 1.0:
            raise ValueError(f"neutral reward {self.neutral!r} must be in [0, 1]")

    async def score(self, requests: Sequence[Score]) -> list[Scored | Failed]:
        """Score each request; the question and earlier steps do not matter."""
        return [self._reply(request) for request in requests]

    def describe(self) -> dict[str, str]:
        """What `rsd doctor` prints."""
        return {"kind": "arithmetic", "neutral": f"{self.neutral:g}"}

    def close(self) -> None:
        """Nothing to release."""

    def _reply(self, request: Score) -> Scored | Failed:
        if not request.steps:
            return nothing_to_score()
        rewards = tuple(self.reward(step.text) for step in request.steps)
        return Scored(rewards, Usage(calls=1))

    def reward(self, text: str) -> float:
        """The reward of one step."""
        verdicts = check_equations(text)
        return float(all(verdicts)) if verdicts else self.neutral
