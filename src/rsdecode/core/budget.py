"""A threshold that keeps to a budget of target calls, one problem at a time (Proposition 2)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Budget:
    """Tracks the gamma-quantile of the draft's rewards online.

    Proposition 2: at most a share gamma of target calls is best spent on the steps below the
    gamma-quantile of the draft's reward. After every step the threshold moves by
    rate * (gamma - [target called]), the subgradient step on the quantile (pinball) loss. Whatever
    the rewards are, after n steps of one problem the share of target calls differs from gamma by at
    most (max(t, 1 - t) + rate) / (rate * n), where t is the threshold of the start, because a
    threshold at or below 0 never rejects and one above 1 always does (Gibbs and Candès, 2021,
    Proposition 4.1, for the same update). Steps that the draft could not finish are outside this
    bound: the target must write them whatever the threshold is, and they count as its calls.

    The state belongs to one problem, so no problem's result depends on what else runs.

    Attributes:
        gamma: share of steps that the target may write, in [0, 1].
        threshold: where the search starts, then the current threshold; may leave [0, 1] slightly.
        rate: step size of the search.
    """

    gamma: float
    threshold: float = 0.7
    rate: float = 0.1

    def __post_init__(self) -> None:
        if not 0.0 <= self.gamma <= 1.0:
            raise ValueError(f"budget {self.gamma!r} is a share of steps: it must be in [0, 1]")
        if not math.isfinite(self.threshold):
            raise ValueError(f"budget threshold {self.threshold!r} must be a finite number")
        if not 0.0 < self.rate <= 1.0:
            raise ValueError(f"budget rate {self.rate!r} must be in (0, 1]")

    def __call__(self, reward: float) -> float:
        """The weighting function of the current threshold: 1(r >= threshold)."""
        return 1.0 if reward >= self.threshold else 0.0

    def after(self, *, target_called: bool) -> Budget:
        """The controller after one more step."""
        return replace(self, threshold=self.threshold + self.rate * (self.gamma - target_called))
