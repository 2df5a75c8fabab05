"""What a worker can be asked to do: its settings travel, its models stay where they are."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from rsdecode.config import RunConfig, config_hash
from rsdecode.config.methods import build_named_method
from rsdecode.core.protocols import Models
from rsdecode.core.types import Problem
from rsdecode.evals.grading import AnswerKind, GradingPool
from rsdecode.evals.runner import answer_record, judge, shapes_of
from rsdecode.methods import Method
from rsdecode.results.records import trajectory_to_record
from rsdecode.session.job import Job
from rsdecode.session.session import Session

Shapes = dict[str, dict[str, Any] | None]


class OpenTask(Protocol):
    """A task in a worker, on its models."""

    async def do(self, item: Any) -> Any:
        """One piece of the task's work; many are under way at once."""
        ...


class TaskSettings(Protocol):
    """A task as it travels, without its work: everything in it pickles."""

    def method(self) -> Method:
        """What needs the models."""
        ...

    def open(self, models: Models, pool: GradingPool) -> OpenTask:
        """Get ready, on models with empty caches."""
        ...


class Sample(NamedTuple):
    """One answer to one problem: a piece of an `AnswerTask`."""

    problem: Problem
    sample: int


@dataclass(frozen=True, slots=True)
class AnswerTask:
    """Answers to problems by one method.

    Attributes:
        config: of the run with this method, as `RunConfig.model_dump` gives it.
        kind: of the answers; None where they are not graded.
    """

    config: dict[str, Any]
    kind: str | None = None

    @classmethod
    def of(cls, config: RunConfig, kind: AnswerKind | None = None) -> AnswerTask:
        """From a configuration."""
        return cls(config.model_dump(mode="json", exclude_unset=True), kind)

    def method(self) -> Method:
        """See `TaskSettings`."""
        config = RunConfig.model_validate(self.config)
        return build_named_method(config.method, config)

    def open(self, models: Models, pool: GradingPool) -> OpenAnswerTask:
        """See `TaskSettings`."""
        config = RunConfig.model_validate(self.config)
        kind = None if self.kind is None else AnswerKind(self.kind)
        return OpenAnswerTask(config, self.method(), kind, models, pool)


class OpenAnswerTask:
    """Solves, grades where that is wanted, and makes records."""

    def __init__(
        self,
        config: RunConfig,
        method: Method,
        kind: AnswerKind | None,
        models: Models,
        pool: GradingPool,
    ) -> None:
        self._run = config.run
        self._marks = config.answer.marks
        self._hash = config_hash(config)
        self._method = method
        self._kind = kind
        self._models = models
        self._pool = pool
        self._session = Session(
            models, concurrency=config.run.concurrency, thoughts=config.answer.marks
        )

    async def do(self, item: Sample) -> dict[str, Any]:
        """The record of an answer."""
        run = self._run
        job = Job(item.problem, self._method, run.seed, item.sample, run.timeout_s)
        handle = self._session.submit_job(job, events="none")
        try:
            trajectory = await handle.result()
        except asyncio.CancelledError:
            handle.cancel("the caller gave up")
            raise
        shapes = self._models.shapes()
        if self._kind is None:
            return trajectory_to_record(
                trajectory, shapes=shapes, config_hash=self._hash, thoughts=self._marks
            )
        verdict = await judge(trajectory, self._pool, self._kind, self._marks)
        return answer_record(
            trajectory, verdict, shapes=shapes, config_hash=self._hash, thoughts=self._marks
        )


def task_shapes(task: TaskSettings, models: Models) -> Shapes:
    """The shapes of the models that a task needs, as results keep them."""
    return shapes_of(task.method(), models)
