"""`likelihood:target`: a step is as good as the target finds it likely."""

from __future__ import annotations

from rsdecode.core.requests import Likelihood
from rsdecode.rewards.gates.pooling import Pooling
from rsdecode.rewards.gates.reading import ReadingReward


class LikelihoodReward(ReadingReward):
    """The probability of a step's tokens under the target, made one number by a rule.

    Args:
        model: any language model that is an `Assessor`; the target.
        pooling: the rule.
        temperature: of the probabilities.

    Raises:
        ConfigError: the model does not tell how likely a text is.
    """

    def __init__(
        self,
        model: object,
        pooling: Pooling = Pooling(),  # noqa: B008 - frozen
        temperature: float = 1.0,
    ) -> None:
        super().__init__(model, temperature)
        self._pooling = pooling
        self._temperature = temperature

    def describe(self) -> dict[str, str]:
        """What `rsd doctor` prints."""
        return {
            "kind": "likelihood",
            "reads": f"{self._pooling} of each step under the target, at temperature "
            f"{self._temperature:g}",
            "cost": "the target reads every step; what it has read it need not read to write",
        }

    @property
    def is_of_worst_token(self) -> bool:
        """Only where the rule takes the least likely one."""
        return self._pooling.how == "min"

    def reward(self, likelihood: Likelihood) -> float:
        """The rule's number."""
        return self._pooling.reward(likelihood.logprobs)
