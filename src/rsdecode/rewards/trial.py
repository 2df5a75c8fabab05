"""Tries a reward model on right and wrong steps, and its context against the limits.

A reward model that is read at another place than in training, or whose labels are the other way
round, gives numbers like any other. Here it has to tell a right sum from a wrong one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from rsdecode.core.limits import Limits
from rsdecode.core.protocols import RewardModel
from rsdecode.core.requests import Failed, Score
from rsdecode.core.types import Context, Message, Segment

SESSION = "trial"
MARGIN = 0.05
"""A right step should score higher by this at least."""
QUESTION_TOKENS = 256
"""Room for a question that is not known yet."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A question and its first step, right and wrong."""

    question: str
    right: str
    wrong: str


PAIRS = (
    Pair(
        "Mia has 20 pens. Mia loses 8 of them. How many pens are there at the end?",
        "Taking away 8 leaves 20 - 8 = 12 pens.",
        "Taking away 8 leaves 20 - 8 = 13 pens.",
    ),
    Pair(
        "Ben has 14 coins. Ben gets 5 more coins. How many coins are there at the end?",
        "Adding 5 gives 14 + 5 = 19 coins.",
        "Adding 5 gives 14 + 5 = 17 coins.",
    ),
)
"""Of the kind that the smallest reward models know; the embedded one is such."""


@dataclass(frozen=True, slots=True)
class RewardTrial:
    """How a reward model did.

    Attributes:
        right: mean reward of the right steps.
        wrong: mean reward of the wrong steps.
        warnings: what is suspicious, each with what to set.
    """

    right: float
    wrong: float
    warnings: tuple[str, ...]

    @property
    def summary(self) -> str:
        """One line for people."""
        return f"reward {self.right:.3f} for right steps, {self.wrong:.3f} for wrong ones"


async def try_steps(model: RewardModel, pairs: Sequence[Pair] = PAIRS) -> RewardTrial:
    """Score right and wrong steps, and compare them.

    Args:
        model: any reward model.
        pairs: what to score; at least one.

    Raises:
        RsdError: a request failed.
    """
    requests = [_request(pair, step) for pair in pairs for step in (pair.right, pair.wrong)]
    rewards: list[float] = []
    for reply in await model.score(requests):
        if isinstance(reply, Failed):
            raise reply.error
        rewards.append(reply.rewards[-1])
    right, wrong = fmean(rewards[::2]), fmean(rewards[1::2])
    first = pairs[0]
    said = f"the reward model gives {right:.3g} to right steps ({first.right!r}) and {wrong:.3g} "
    said += f"to wrong ones ({first.wrong!r})"
    remedy = (
        "it may be read at another mark than in training (reward.mark, reward.separator), know "
        "another prompt, or be no judge of arithmetic"
    )
    warnings: tuple[str, ...] = tuple(getattr(model, "warnings", ()))
    if wrong >= right:
        warnings += (
            f"{said}, which is the wrong way round: name its label or sign of right steps "
            f"(reward.good; --reward-good), if it is not the one that is read; or {remedy}",
        )
    elif right - wrong < MARGIN:
        warnings += (f"{said}, which hardly tells them apart: {remedy}",)
    return RewardTrial(right, wrong, warnings)


def context_warning(model: RewardModel, limits: Limits) -> str | None:
    """What is wrong with a reward model's context for such answers; None if it holds them.

    A reward model reads the question, the whole answer and a mark after each step; beyond its
    context it refuses, and the answer ends.

    Args:
        model: any; only those that say their `max_context` can be judged.
        limits: of the answers.
    """
    context: int | None = getattr(model, "max_context", None)
    if context is None:
        return None
    form: Any = getattr(model, "format", None)
    marks = len(getattr(form, "mark_ids", ())) + len(getattr(form, "closing_ids", ()))
    steps = min(limits.max_steps, limits.max_tokens)
    needed = QUESTION_TOKENS + limits.max_tokens + steps * marks
    if context >= needed:
        return None
    room = max(1, context - QUESTION_TOKENS - steps * marks)
    return (
        f"the reward model reads {context} tokens at most, but a question and an answer of "
        f"--max-tokens {limits.max_tokens} are up to about {needed}: longer answers end where it "
        f"is full; set --max-tokens {room}, or choose a reward model with a longer context"
    )


def _request(pair: Pair, step: str) -> Score:
    asked = Context((Message("user", pair.question),))
    return Score(asked, (Segment(f"{step}\n\n"),), f"{SESSION}/{pair.question}/{step}")
