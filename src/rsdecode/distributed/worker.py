"""What runs in an actor: models, a session on them, and a pool that grades."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rsdecode.config import RunConfig, config_hash
from rsdecode.config.build import build_models
from rsdecode.config.methods import build_named_method
from rsdecode.core.errors import ConfigError
from rsdecode.core.protocols import Models
from rsdecode.core.types import Problem
from rsdecode.evals.grading import AnswerKind, GradingPool
from rsdecode.evals.runner import answer_record, judge, shapes_of
from rsdecode.methods import Method
from rsdecode.results.code_version import code_version
from rsdecode.session.job import Job
from rsdecode.session.session import Session

Shapes = dict[str, dict[str, Any] | None]


@dataclass(frozen=True, slots=True)
class TaskSettings:
    """One method on one data set, without its problems.

    Attributes:
        config: of the run with this method, as `RunConfig.model_dump` gives it.
        kind: of the data set's answers.
    """

    config: dict[str, Any]
    kind: str

    @classmethod
    def of(cls, config: RunConfig, kind: AnswerKind) -> TaskSettings:
        """As a task has them."""
        return cls(config.model_dump(mode="json"), kind)


class Worker:
    """Answers jobs, many at a time. Its methods are called from other processes.

    Args:
        config: the run's, as `RunConfig.model_dump` gives it: which models are loaded.
        methods: names of all methods to come.
        code: version of the code of whoever asks.
    """

    def __init__(self, config: dict[str, Any], methods: Sequence[str], code: str) -> None:
        self._config = RunConfig.model_validate(config)
        self._methods = tuple(methods)
        self._code = code
        self._models: Models | None = None
        self._pool: GradingPool | None = None
        self._session: Session | None = None
        self._task: _Task | None = None

    async def load(self) -> None:
        """Load the models; a call of its own, so that its errors arrive as what they are.

        Raises:
            ConfigError: this worker's code is another version.
            RsdError: a model cannot be loaded.
        """
        if self._models is not None:
            return
        if (own := code_version()) != self._code:
            raise ConfigError(
                f"a worker has another version of rsdecode ({own}) than this process "
                f"({self._code}): install the same one on every node"
            )
        methods = [build_named_method(name, self._config) for name in self._methods]
        self._models = await asyncio.to_thread(build_models, self._config, methods)
        self._pool = GradingPool(1)

    async def begin(self, settings: TaskSettings) -> Shapes:
        """Get ready for a task's jobs, with empty caches; the shapes of its models."""
        assert self._models is not None, "load() comes first"
        config = RunConfig.model_validate(settings.config)
        method = build_named_method(config.method, config)
        self._models.clear()
        run, marks = config.run, config.answer.marks
        self._session = Session(self._models, concurrency=run.concurrency, thoughts=marks)
        self._task = _Task(config, config_hash(config), method, AnswerKind(settings.kind))
        return shapes_of(method, self._models)

    async def answer(self, problem: Problem, sample: int) -> dict[str, Any]:
        """Solve and grade; the record of the answer."""
        task, session, models, pool = self._task, self._session, self._models, self._pool
        assert task is not None, "begin() comes first"
        assert session is not None
        assert models is not None
        assert pool is not None
        run = task.config.run
        job = Job(problem, task.method, run.seed, sample, run.timeout_s)
        handle = session.submit_job(job, events="none")
        try:
            trajectory = await handle.result()
        except asyncio.CancelledError:
            handle.cancel("the caller gave up")
            raise
        marks = task.config.answer.marks
        verdict = await judge(trajectory, pool, task.kind, marks)
        return answer_record(
            trajectory,
            verdict,
            shapes=models.shapes(),
            config_hash=task.config_hash,
            thoughts=marks,
        )

    async def notes(self) -> tuple[str, ...]:
        """What readers of the results must know."""
        return () if self._models is None else tuple(self._models.notes())

    async def close(self) -> None:
        """Free the models; servers that were started end."""
        if self._pool is not None:
            self._pool.close()
        if self._models is not None:
            await asyncio.to_thread(self._models.close)


@dataclass(frozen=True, slots=True)
class _Task:
    config: RunConfig
    config_hash: str
    method: Method
    kind: AnswerKind
