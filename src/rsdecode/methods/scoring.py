"""Rewards of steps, checked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from rsdecode.core.counted import counted
from rsdecode.core.errors import RewardError
from rsdecode.core.requests import Generated, Scored, Start, score
from rsdecode.core.types import FinishReason, Proposal, Role
from rsdecode.methods.trajectory import Deciding, TrajectoryBuilder


class Candidate(NamedTuple):
    """A draft step that may be the next one of an answer.

    Attributes:
        answer: what it continues.
        session: names the prefix that it grew on.
    """

    answer: TrajectoryBuilder
    draft: Generated
    session: str

    @property
    def text(self) -> str:
        """The text of the step."""
        return self.draft.segment.text

    @property
    def whole(self) -> bool:
        """Whether the step is complete: one that was cut at a limit is not scored."""
        return self.draft.finish_reason in (FinishReason.STOP, FinishReason.EOS)

    @property
    def ends(self) -> bool:
        """Whether the answer is over after it."""
        return self.draft.finish_reason is FinishReason.EOS

    @property
    def empty(self) -> bool:
        """Whether there is nothing in it to score."""
        return not self.text.strip()


def proposals(
    candidates: Sequence[Candidate], rewards: Sequence[float | None], *, chosen: int | None = None
) -> tuple[Proposal, ...]:
    """How candidates are kept that do not enter the answer: all but `chosen`."""
    return tuple(
        Proposal(c.text, reward, c.draft.finish_reason, c.draft.token_count)
        for place, (c, reward) in enumerate(zip(candidates, rewards, strict=True))
        if place != chosen
    )


def score_candidates(
    trajectory: TrajectoryBuilder, candidates: Sequence[Candidate], started: Sequence[Start] = ()
) -> Deciding[list[float | None]]:
    """The reward of each candidate, all asked for at once and charged to `trajectory`.

    None for one that was cut. An empty one that ends the answer inherits the reward of the step
    before it; None where there is none. `started` requests begin at the same moment.
    """
    asked = [c for c in candidates if c.whole and not c.empty]
    scored = yield from score(
        [c.answer.score_of(c.draft.segment, c.session, ends=c.ends) for c in asked],
        started,
    )
    trajectory.charge(Role.REWARD, *scored)
    replies = iter(scored)
    rewards: list[float | None] = []
    for candidate in candidates:
        if candidate.whole and not candidate.empty:
            rewards.append(rewards_in(next(replies), 1)[0])
        else:
            before = candidate.answer.steps[-1:] if candidate.whole else []
            rewards.append(before[0].reward if before else None)
    return rewards


def highest(rewards: Sequence[float | None]) -> int:
    """Place of the highest reward, the first of equals; what has none loses to what has."""
    ranks = [-1.0 if reward is None else reward for reward in rewards]
    return ranks.index(max(ranks))


def rewards_in(scored: Scored, count: int) -> tuple[float, ...]:
    """The rewards of `count` steps.

    Raises:
        RewardError: there are more or fewer, or one is not a finite number in [0, 1].
    """
    if len(scored.rewards) != count:
        raise RewardError(
            f"the reward model returned {counted(len(scored.rewards), 'reward')} for "
            f"{counted(count, 'step')}: repair the model or function given as --reward"
        )
    return tuple(map(valid_reward, scored.rewards))


def valid_reward(reward: float) -> float:
    """The reward itself.

    Raises:
        RewardError: it is not a finite number in [0, 1].
    """
    if not (math.isfinite(reward) and 0.0 <= reward <= 1.0):
        raise RewardError(
            f"the reward model returned {reward!r}: a reward must be a finite number in [0, 1]; "
            "scale or repair the scores of the model or function given as --reward"
        )
    return reward
