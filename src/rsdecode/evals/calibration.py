"""Runs RSD at one threshold after the other on the same problems, for `rsd tune`."""

from __future__ import annotations

import copy
from contextlib import aclosing
from dataclasses import replace

from rsdecode.config.methods import build_named_method
from rsdecode.core.errors import ConfigError
from rsdecode.core.protocols import Models, RewardModel
from rsdecode.core.types import Problem
from rsdecode.evals.grading import GradingPool
from rsdecode.evals.memory import RememberingReward, remembering
from rsdecode.evals.plan import EvalTask
from rsdecode.evals.runner import judge
from rsdecode.evals.tune import Outcome, Point, outcome
from rsdecode.methods import Method
from rsdecode.session.job import Job
from rsdecode.session.session import Session


class Calibration:
    """The problems, the target's outcomes and the memory that all thresholds share.

    Use it as a context manager, within one event loop.

    Args:
        alone: the target's task.
        rsd: RSD's task on the same problems.
        models: what both need; not closed here.
    """

    def __init__(self, alone: EvalTask, rsd: EvalTask, models: Models) -> None:
        self._alone = alone
        self._rsd = rsd
        self._models = remembering(models)
        self._pool = GradingPool()
        self._target: list[Outcome] | None = None

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What is solved at each threshold."""
        return self._rsd.problems

    async def point(self, threshold: float) -> Point:
        """RSD at a threshold.

        Raises:
            ConfigError: an answer failed; a threshold found on what is left would mean little.
        """
        if self._target is None:
            self._target = await self._outcomes(self._alone.method, self._alone.problems)
        method = build_named_method(f"rsd@{threshold!r}", self._rsd.config)
        outcomes = await self._outcomes(method, self._rsd.problems)
        return Point(threshold, outcomes, self._target)

    def with_reward(self, reward: RewardModel) -> Calibration:
        """The same problems, target and memory of what was written, with another reward."""
        other = copy.copy(self)
        other._models = replace(self._models, reward=RememberingReward(reward))
        return other

    async def rewarded(self) -> list[Outcome]:
        """RSD at threshold 0: what the draft alone does, and the rewards of its steps."""
        method = build_named_method("rsd@0.0", self._rsd.config)
        return await self._outcomes(method, self._rsd.problems)

    async def _outcomes(self, method: Method, problems: tuple[Problem, ...]) -> list[Outcome]:
        run = self._rsd.config.run
        session = Session(self._models, concurrency=run.concurrency)
        jobs = (Job(problem, method, run.seed, deadline_s=run.timeout_s) for problem in problems)
        shapes = dict(self._models.shapes())
        found: dict[str, Outcome] = {}
        async with aclosing(session.run(jobs)) as trajectories:
            async for trajectory in trajectories:
                if trajectory.error is not None:
                    raise ConfigError(f"problem {trajectory.problem.id}: {trajectory.error}")
                verdict = await judge(
                    trajectory, self._pool, self._rsd.kind, self._rsd.config.answer.marks
                )
                found[trajectory.problem.id] = outcome(trajectory, shapes, correct=verdict.correct)
        return [found[problem.id] for problem in problems]

    def __enter__(self) -> Calibration:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.close()
