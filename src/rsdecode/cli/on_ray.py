"""Commands on the workers of a Ray cluster: the same results, in the same files."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rsdecode.cli.eval_progress import EvalProgress, Tally
from rsdecode.cli.messages import print_note, print_warning
from rsdecode.results.line_writer import run_until_failure

if TYPE_CHECKING:
    from rsdecode.config import RunConfig
    from rsdecode.core.types import Problem
    from rsdecode.distributed.cluster import Cluster
    from rsdecode.distributed.crew import Crew
    from rsdecode.distributed.tasks import AnswerTask, TaskSettings
    from rsdecode.evals.plan import EvalTask
    from rsdecode.results.output_file import OutputFile
    from rsdecode.results.store import ResultFile

RayOption = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="ADDRESS|local",
        help="On the workers of a Ray cluster; local: one of this machine's cores.",
    ),
]


@asynccontextmanager
async def crew_for(
    cluster: Cluster, config: RunConfig, tasks: Sequence[TaskSettings], notes: list[str]
) -> AsyncGenerator[Crew]:
    """Workers for some tasks; they end with the block.

    Args:
        cluster: where.
        config: of the run: which models each worker loads.
        tasks: all that they will be asked for.
        notes: gets what the models note.
    """
    crew = cluster.crew(config, tasks, print_warning)
    print_note(f"workers on Ray: {crew.size}")
    try:
        yield crew
        notes += await crew.notes()
    finally:
        await crew.close()


async def solve_on_ray(
    cluster: Cluster,
    config: RunConfig,
    asked: Sequence[tuple[Problem, int]],
    take: Callable[[dict[str, Any]], None],
    *,
    file: OutputFile | None,
    notes: list[str],
) -> None:
    """Have answers written.

    Args:
        cluster: where.
        config: of the run.
        asked: problems and samples.
        take: takes the record of each answer as it comes.
        file: where they go in the end; nothing in it changes before models are loaded.
        notes: gets what the models note.
    """
    from rsdecode.distributed.tasks import AnswerTask, Sample

    task = AnswerTask.of(config)
    async with crew_for(cluster, config, [task], notes) as crew:
        await crew.shapes(task)
        if file is not None:
            file.begin()
        work = crew.run(task, [Sample(*each) for each in asked], take)
        await run_until_failure(work, [] if file is None else [file.failure])


async def eval_on_ray(
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
    tasks = [_settings(task) for task, _ in waiting]
    async with crew_for(cluster, config, tasks, notes) as crew:
        for task, file in waiting:
            file.begin(await crew.shapes(_settings(task)))
        failures = [file.failure for _, file in waiting]
        await run_until_failure(_eval_all(crew, waiting, progress), failures)


async def _eval_all(
    crew: Crew, waiting: Sequence[tuple[EvalTask, ResultFile]], progress: EvalProgress
) -> None:
    from rsdecode.distributed.tasks import Sample

    for task, file in waiting:
        jobs = task.jobs
        earlier = [file.done[job.key] for job in jobs if job.key in file.done]
        keep = _Keep(file, progress.start(task.name, Tally(len(jobs), earlier)))
        left = [Sample(job.problem, job.sample) for job in task.left(file.done)]
        await crew.run(_settings(task), left, keep)


def _settings(task: EvalTask) -> AnswerTask:
    from rsdecode.distributed.tasks import AnswerTask

    return AnswerTask.of(task.config, task.kind)


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
