"""Two judges: one of an answer's steps, one of the thoughts before it."""

from __future__ import annotations

from collections.abc import Sequence

from rsdecode.core.protocols import RewardModel
from rsdecode.core.requests import Failed, Score, Scored
from rsdecode.rewards.joined import JoinedReward


class PartedReward(JoinedReward):
    """Has thoughts scored by one reward model and answers by another.

    Args:
        answers: scores the steps of answers.
        thoughts: scores the steps of thoughts.
    """

    def __init__(self, answers: RewardModel, thoughts: RewardModel) -> None:
        super().__init__(answers, thoughts, "reward")
        self._answers, self._thoughts = answers, thoughts

    def describe(self) -> dict[str, str]:
        """What `rsd doctor` prints."""
        return self.describe_parts("", "thoughts ")

    async def score(self, requests: Sequence[Score]) -> list[Scored | Failed]:
        """Score all requests, those of each judge in one batch; replies in their order."""
        replies: dict[int, Scored | Failed] = {}
        for thoughts, judge in ((False, self._answers), (True, self._thoughts)):
            places = [i for i, request in enumerate(requests) if request.thoughts is thoughts]
            if places:
                scored = await judge.score([requests[i] for i in places])
                replies |= dict(zip(places, scored, strict=True))
        return [replies[place] for place in range(len(requests))]
