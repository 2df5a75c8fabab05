"""`confidence:draft`: a step is as good as the draft was sure of it; costs nothing."""

from __future__ import annotations

from collections.abc import Sequence

from rsdecode.core.errors import ConfigError, RewardError
from rsdecode.core.protocols import LOGPROBS_HIDDEN, TellsLogprobs
from rsdecode.core.requests import Failed, Score, Scored
from rsdecode.core.types import Usage
from rsdecode.rewards.gates.pooling import Pooling
from rsdecode.rewards.requests import nothing_to_score


class ConfidenceReward:
    """The draft's own probability of the tokens of its step, made one number by a rule.

    The log-probabilities come with the step (`Segment.logprobs`), under the distribution that its
    tokens were drawn from; greedy ones under the draft's own. Nothing is computed for it.

    Args:
        draft: is told to keep them.
        pooling: the rule.

    Raises:
        ConfigError: the draft does not know them.
    """

    reads_draft = True

    def __init__(
        self,
        draft: object,
        pooling: Pooling = Pooling(),  # noqa: B008 - frozen
    ) -> None:
        if not isinstance(draft, TellsLogprobs):
            raise ConfigError(LOGPROBS_HIDDEN.format(role="draft"))
        draft.tell_logprobs()
        self._pooling = pooling

    def describe(self) -> dict[str, str]:
        """What `rsd doctor` prints."""
        return {
            "kind": "confidence",
            "reads": f"{self._pooling} of each step under the draft that wrote it",
            "cost": "none: the draft has computed it already",
        }

    def close(self) -> None:
        """Nothing to release."""

    async def score(self, requests: Sequence[Score]) -> list[Scored | Failed]:
        """Score each request; replies in their order."""
        return [self._reply(request) for request in requests]

    def _reply(self, request: Score) -> Scored | Failed:
        if not request.steps:
            return nothing_to_score()
        rewards: list[float] = []
        for step in request.steps:
            if step.logprobs is None:
                return Failed(
                    RewardError(
                        "confidence:draft knows nothing of a step that the draft did not write as "
                        "it is: use it with rsd, process-best-of-N or beam, or another reward"
                    )
                )
            rewards.append(self._pooling.reward(step.logprobs))
        return Scored(tuple(rewards), Usage(calls=1))
