"""`rsd eval --ray`: the tasks on a cluster, into the same files."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rsdecode.cli.eval_progress import EvalProgress, Tally
from rsdecode.cli.messages import print_note, print_warning
from rsdecode.distributed.cluster import Cluster
from rsdecode.distributed.worker import TaskSettings
from rsdecode.results.line_writer import run_until_failure

if TYPE_CHECKING:
    from rsdecode.config import RunConfig
    from rsdecode.distributed.crew import Crew
    from rsdecode.evals.plan import EvalTask
    from rsdecode.results.store import ResultFile


async def run_on_ray(
    cluster: Cluster,
    config: RunConfig,
    waiting: Sequence[tuple[EvalTask, ResultFile]],
    progress: EvalProgress,
    notes: list[str],
) -> None:
    """Have the tasks done, one after the other, by workers that are kept between them.

    Args:
        cluster: where.
        config: of the run.
        waiting: tasks with something left to do.
        progress: shows them.
        notes: gets what the models note.
    """
    crew = cluster.crew(config, [task.meta.method for task, _ in waiting], print_warning)
    print_note(f"workers on Ray: {crew.size}")
    try:
        for task, file in waiting:
            file.begin(await crew.shapes(_settings(task)))
        failures = [file.failure for _, file in waiting]
        await run_until_failure(_run_all(crew, waiting, progress), failures)
        notes += await crew.notes()
    finally:
        await crew.close()


async def _run_all(
    crew: Crew, waiting: Sequence[tuple[EvalTask, ResultFile]], progress: EvalProgress
) -> None:
    for task, file in waiting:
        jobs = task.jobs
        earlier = [file.done[job.key] for job in jobs if job.key in file.done]
        keep = _Keep(file, progress.start(task.name, Tally(len(jobs), earlier)))
        await crew.run(_settings(task), task.left(file.done), keep)


def _settings(task: EvalTask) -> TaskSettings:
    return TaskSettings.of(task.config, task.kind)


class _Keep:
    """Writes records down with the time since the one before."""

    def __init__(self, file: ResultFile, watch: Any) -> None:
        self._file = file
        self._watch = watch
        self._written = time.perf_counter()

    def __call__(self, record: dict[str, Any]) -> None:
        now = time.perf_counter()
        record["elapsed"], self._written = now - self._written, now
        self._file.append(record)
        self._watch(record)
