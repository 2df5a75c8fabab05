"""Run a method over problems and sum up what it did."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from rsdecode.core.cost import Flops, flops
from rsdecode.core.protocols import Models
from rsdecode.core.types import FinishReason, Ledger, Problem, Role, Trajectory
from rsdecode.evals.grading import is_correct
from rsdecode.evals.stats import Interval, wilson
from rsdecode.methods import Method
from rsdecode.scheduler.scheduler import Job, Scheduler


@dataclass(frozen=True, slots=True)
class Graded:
    """A trajectory and its verdict."""

    trajectory: Trajectory
    correct: bool


@dataclass(frozen=True, slots=True)
class Result:
    """What one method did on a set of problems.

    Attributes:
        graded: in the order of the problems.
        flops: of all problems together; None where a model's shape is not known.
        seconds: wall time of the whole set.
    """

    method: str
    graded: tuple[Graded, ...]
    flops: Flops
    seconds: float

    @property
    def correct(self) -> list[bool]:
        """Verdicts, in the order of the problems."""
        return [graded.correct for graded in self.graded]

    @property
    def accuracy(self) -> Interval:
        """Share of right answers with its 95 % interval (Wilson)."""
        return wilson(sum(self.correct), len(self.graded))

    @property
    def ledger(self) -> Ledger:
        """Usage of all problems together."""
        return sum((graded.trajectory.ledger for graded in self.graded), Ledger())

    @property
    def acceptance_rate(self) -> float | None:
        """Share of steps that the draft wrote; None where no reward decided."""
        steps = [step for graded in self.graded for step in graded.trajectory.steps]
        if not steps or not self.ledger.reward.calls:
            return None
        return sum(step.accepted for step in steps) / len(steps)

    @property
    def truncated(self) -> float:
        """Share of problems that did not end by themselves: no answer, never right."""
        ended = sum(g.trajectory.stop_reason is FinishReason.EOS for g in self.graded)
        return 1 - ended / len(self.graded)

    @property
    def tokens(self) -> dict[str, int]:
        """Tokens written by draft and target, tokens read (or written, by a judge) for rewards."""
        ledger = self.ledger
        return {
            Role.DRAFT.value: ledger.draft.decoded_tokens,
            Role.TARGET.value: ledger.target.decoded_tokens,
            Role.REWARD.value: ledger.reward.prefill_tokens + ledger.reward.decoded_tokens,
        }

    def as_record(self) -> dict[str, Any]:
        """A JSON object."""
        accuracy = self.accuracy
        return {
            "method": self.method,
            "problems": len(self.graded),
            "accuracy": accuracy.estimate,
            "accuracy_low": accuracy.low,
            "accuracy_high": accuracy.high,
            "acceptance_rate": self.acceptance_rate,
            "truncation_rate": self.truncated,
            "tokens": self.tokens,
            "flops": {"paper": self.flops.paper, "exact": self.flops.exact},
            "seconds": self.seconds,
        }


async def evaluate(
    name: str,
    method: Method,
    models: Models,
    problems: Sequence[Problem],
    *,
    seed: int = 0,
    concurrency: int = 32,
    watch: Callable[[Graded], None] | None = None,
) -> Result:
    """Decode every problem and grade it.

    Args:
        name: of the method, for tables.
        method: the decoding method.
        models: what it needs.
        problems: each with a reference answer and an id of its own.
        seed: of the run.
        concurrency: problems in flight.
        watch: told of every problem as it ends.

    Raises:
        ConfigError: a model is missing.
        ValueError: no problems.
    """
    if not problems:
        raise ValueError("there are no problems to evaluate on")
    scheduler = Scheduler(models, method, seed=seed, concurrency=concurrency)
    started = time.perf_counter()
    ended: dict[str, Graded] = {}
    async with aclosing(scheduler.run(map(Job, problems))) as trajectories:
        async for trajectory in trajectories:
            graded = Graded(trajectory, is_correct(trajectory))
            ended[trajectory.problem.id] = graded
            if watch is not None:
                watch(graded)
    seconds = time.perf_counter() - started
    ordered = tuple(ended[problem.id] for problem in problems)
    total = flops(sum((g.trajectory.ledger for g in ordered), Ledger()), models.shapes())
    return Result(name, ordered, total, seconds)
