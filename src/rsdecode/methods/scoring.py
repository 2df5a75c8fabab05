"""Rewards of steps, checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rsdecode.core.errors import RewardError
from rsdecode.core.requests import Generated, Score, Scored, score
from rsdecode.core.types import FinishReason, Proposal, Role
from rsdecode.methods.record import Deciding, Record
from rsdecode.methods.rsd import valid_reward


class Candidate(NamedTuple):
    """A draft step that may be the next one of an answer.

    Attributes:
        answer: what it continues.
        session: names the prefix that it grew on.
    """

    answer: Record
    draft: Generated
    session: str

    @property
    def text(self) -> str:
        """The text of the step."""
        return self.draft.segment.text

    @property
    def whole(self) -> bool:
        """Whether it reached its end; what was cut is not a step."""
        return self.draft.finish_reason in (FinishReason.STOP, FinishReason.EOS)

    @property
    def empty(self) -> bool:
        """Whether there is nothing in it to score."""
        return not self.text.strip()

    def as_proposal(self, reward: float | None) -> Proposal:
        """How it is kept if it does not enter the answer."""
        draft = self.draft
        return Proposal(draft.segment.text, reward, draft.finish_reason, draft.token_count)


def score_candidates(
    record: Record, candidates: Sequence[Candidate]
) -> Deciding[list[float | None]]:
    """The reward of each candidate, all asked for at once and charged to `record`.

    None for one that was cut. An empty one that ends the answer inherits the reward of the step
    before it; None where there is none.
    """
    asked = [c for c in candidates if c.whole and not c.empty]
    scored = yield from score(
        [Score(c.answer.context, (c.draft.segment,), c.session) for c in asked]
    )
    record.charge(Role.REWARD, *scored)
    replies = iter(scored)
    rewards: list[float | None] = []
    for candidate in candidates:
        if candidate.whole and not candidate.empty:
            rewards.append(rewards_in(next(replies), 1)[0])
        else:
            before = candidate.answer.steps[-1:] if candidate.whole else []
            rewards.append(before[0].reward if before else None)
    return rewards


def rewards_in(scored: Scored, count: int) -> tuple[float, ...]:
    """The rewards of `count` steps.

    Raises:
        RewardError: there are more or fewer, or one is not a finite number in [0, 1].
    """
    if len(scored.rewards) != count:
        raise RewardError(
            f"the reward model returned {len(scored.rewards)} rewards for {count} steps: "
            "repair the model or function given as --reward"
        )
    return tuple(map(valid_reward, scored.rewards))
