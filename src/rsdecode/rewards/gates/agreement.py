"""`agreement`: a step is as good as far as the target would have begun it the same way."""

from __future__ import annotations

from itertools import takewhile

from rsdecode.core.requests import Likelihood
from rsdecode.rewards.gates.reading import ReadingReward


class AgreementReward(ReadingReward):
    """The share of a step's first tokens up to which the target's greedy step is the same.

    The target's greedy step starts with the tokens of the draft's for as long as each of them is
    its first choice, so reading the draft's step tells it: nothing is written for it.

    Args:
        model: any language model that is an `Assessor`; the target.
        tokens: how many of the first tokens count; 0 for all.

    Raises:
        ConfigError: the model does not tell how likely a text is.
    """

    def __init__(self, model: object, tokens: int = 0) -> None:
        super().__init__(model)
        self._tokens = tokens

    def describe(self) -> dict[str, str]:
        """What `rsd doctor` prints."""
        first = f"first {self._tokens} tokens" if self._tokens else "tokens"
        return {
            "kind": "agreement",
            "reads": f"share of each step's {first} up to where the target's greedy step differs",
            "cost": "the target reads every step; what it has read it need not read to write",
        }

    def reward(self, likelihood: Likelihood) -> float:
        """The share of tokens before the first that is not the target's own choice."""
        firsts = likelihood.firsts[: self._tokens or None]
        if not firsts:
            return 1.0
        return sum(takewhile(bool, firsts)) / len(firsts)
