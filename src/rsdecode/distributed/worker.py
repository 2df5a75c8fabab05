"""What runs in an actor: models, and the task that they are used for."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from rsdecode.config import RunConfig
from rsdecode.config.build import build_models
from rsdecode.core.errors import ConfigError
from rsdecode.core.protocols import Models
from rsdecode.distributed.tasks import OpenTask, Shapes, TaskSettings, task_shapes
from rsdecode.evals.grading import GradingPool
from rsdecode.results.code_version import code_version


class Worker:
    """Does pieces of tasks, many at a time. Its methods are called from other processes.

    Args:
        config: the run's, as `RunConfig.model_dump` gives it: which models are loaded.
        tasks: all to come.
        code: version of the code of whoever asks.
    """

    def __init__(self, config: dict[str, Any], tasks: Sequence[TaskSettings], code: str) -> None:
        self._config = RunConfig.model_validate(config)
        self._tasks = tuple(tasks)
        self._code = code
        self._models: Models | None = None
        self._pool: GradingPool | None = None
        self._open: OpenTask | None = None

    async def load(self) -> None:
        """Load the models; a call of its own, so that its errors arrive as what they are.

        Raises:
            ConfigError: this worker's code is another version.
            RsdError: a model cannot be loaded.
        """
        if self._models is not None:
            return
        check_version(self._code)
        methods = [task.method() for task in self._tasks]
        self._models = await asyncio.to_thread(build_models, self._config, methods)
        self._pool = GradingPool(1)

    async def begin(self, task: TaskSettings) -> Shapes:
        """Get ready for a task's work, with empty caches; the shapes of its models."""
        assert self._models is not None, "load() comes first"
        assert self._pool is not None
        self._models.clear()
        self._open = task.open(self._models, self._pool)
        return task_shapes(task, self._models)

    async def do(self, item: Any) -> Any:
        """One piece of the task's work."""
        assert self._open is not None, "begin() comes first"
        return await self._open.do(item)

    async def notes(self) -> tuple[str, ...]:
        """What readers of the results must know."""
        return () if self._models is None else tuple(self._models.notes())

    async def close(self) -> None:
        """Free the models; servers that were started end."""
        if self._pool is not None:
            self._pool.close()
        if self._models is not None:
            await asyncio.to_thread(self._models.close)


def check_version(code: str) -> None:
    """See that this process has the same code as whoever asks.

    Raises:
        ConfigError: it has another version.
    """
    if (own := code_version()) != code:
        raise ConfigError(
            f"a worker has another version of rsdecode ({own}) than this process ({code}): "
            "install the same one on every node"
        )
