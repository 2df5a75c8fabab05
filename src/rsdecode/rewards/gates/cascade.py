"""`cascade:A,B`: a cheap reward decides the clear cases, another one the rest."""

from __future__ import annotations

from collections.abc import Sequence

from rsdecode.core.errors import ConfigError
from rsdecode.core.protocols import RewardModel
from rsdecode.core.requests import Failed, Score, Scored
from rsdecode.rewards.joined import JoinedReward


class CascadeReward(JoinedReward):
    """0 where the first reward is below `low`, 1 from `high` on, else the second reward.

    So any threshold above 0 decides the clear cases as the first reward does. The second reads
    only the rest, and has to read what it was not asked about when it is asked next.

    Args:
        first: the cheap reward.
        second: asked where the first is not sure.
        low: below it a step is bad.
        high: from it on a step is good.

    Raises:
        ConfigError: the bounds are no interval within [0, 1].
    """

    def __init__(self, first: RewardModel, second: RewardModel, low: float, high: float) -> None:
        if not 0.0 <= low <= high <= 1.0:
            raise ConfigError(f"the bounds {low:g}, {high:g} must satisfy 0 <= low <= high <= 1")
        super().__init__(first, second, "cascade")
        self._first, self._second = first, second
        self._low, self._high = low, high

    def describe(self) -> dict[str, str]:
        """What `rsd doctor` prints."""
        return {
            "kind": "cascade",
            "reads": f"the first; where it is in [{self._low:g}, {self._high:g}), the second",
            **self.describe_parts("first ", "second "),
        }

    async def score(self, requests: Sequence[Score]) -> list[Scored | Failed]:
        """Score all requests; those that are not clear go to the second in one batch."""
        first = await self._first.score(requests)
        unclear = [
            place
            for place, reply in enumerate(first)
            if isinstance(reply, Scored) and not all(map(self._clear, reply.rewards))
        ]
        asked = [requests[place] for place in unclear]
        second = dict(zip(unclear, await self._second.score(asked) if asked else [], strict=True))
        return [self._joined(reply, second.get(place)) for place, reply in enumerate(first)]

    def _clear(self, reward: float) -> bool:
        return not self._low <= reward < self._high

    def _joined(self, first: Scored | Failed, second: Scored | Failed | None) -> Scored | Failed:
        if isinstance(first, Failed) or isinstance(second, Failed):
            return first if isinstance(first, Failed) else second or first
        rest = second.rewards if second is not None else first.rewards
        rewards = tuple(
            float(a >= self._high) if self._clear(a) else b
            for a, b in zip(first.rewards, rest, strict=True)
        )
        usage = first.usage if second is None else first.usage + second.usage
        return Scored(rewards, usage)
