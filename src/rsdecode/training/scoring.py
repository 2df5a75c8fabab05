"""Scores labelled solutions with reward models, side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rsdecode.core.protocols import RewardModel
from rsdecode.core.requests import Failed, Score
from rsdecode.core.types import Context, Message, Segment
from rsdecode.evals.labelled import as_written
from rsdecode.training.measures import ScoredStep
from rsdecode.training.solutions import LabelledSolution

AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class Scores:
    """What one reward model says of solutions.

    Attributes:
        name: of the reward model.
        steps: up to the first wrong one of each solution; given steps are not among them.
        every: all steps, those after a first wrong one included, for first errors.
        failed: solutions that could not be scored, and the first reason.
    """

    name: str
    steps: list[ScoredStep]
    every: list[ScoredStep]
    failed: int = 0
    reason: str | None = None


async def score_solutions(
    name: str,
    reward: RewardModel,
    solutions: Sequence[LabelledSolution],
    tell: Callable[[int], None],
) -> Scores:
    """Score every step of every solution.

    Args:
        name: of the reward model.
        reward: the model; not closed here.
        solutions: with labels.
        tell: is told how many are scored.
    """
    scores = Scores(name, [], [])
    failed, reason, done = 0, None, 0
    for start in range(0, len(solutions), AT_ONCE):
        part = solutions[start : start + AT_ONCE]
        replies = await asyncio.gather(*(reward.score([_request(s)]) for s in part))
        for solution, [reply] in zip(part, replies, strict=True):
            if isinstance(reply, Failed):
                failed += 1
                reason = reason or str(reply.error)
                continue
            _add(scores, solution, reply.rewards)
        done += len(part)
        tell(done)
    return Scores(name, scores.steps, scores.every, failed, reason)


def _request(solution: LabelledSolution) -> Score:
    context = Context((Message("user", solution.question),))
    return Score(context, tuple(map(Segment, as_written(solution.texts))), f"test/{solution.id}")


def _add(scores: Scores, solution: LabelledSolution, rewards: Sequence[float]) -> None:
    first = solution.first_wrong
    for place, (step, reward) in enumerate(zip(solution.steps, rewards, strict=True)):
        if place < solution.given:
            continue
        scored = ScoredStep(solution.problem, solution.id, place, reward, step.right, solution.kind)
        scores.every.append(scored)
        if first is None or place <= first:
            scores.steps.append(scored)
