"""The work of `rsd prm label`, in this process or on the workers of a Ray cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rsdecode.cli.prm.label_progress import LabelProgress
from rsdecode.results.line_writer import run_until_failure
from rsdecode.training.label_plan import LabelPlan

if TYPE_CHECKING:
    from rsdecode.core.protocols import Models
    from rsdecode.core.types import Problem
    from rsdecode.distributed.cluster import Cluster
    from rsdecode.results.store import ResultFile

Label = Callable[[Sequence["Problem"]], Awaitable[None]]
"""Labels what is left of problems, and keeps the records."""


@dataclass(frozen=True, slots=True)
class Ending:
    """When labelling ends before all is labelled.

    Attributes:
        minutes: after so many of the command; None for no limit.
        only_estimate: after the first problems, which tell what the others would cost.
    """

    minutes: float | None = None
    only_estimate: bool = False


def label_here(
    plan: LabelPlan,
    file: ResultFile,
    progress: LabelProgress,
    notes: list[str],
    *,
    ending: Ending,
) -> None:
    """Label with models of this process; `notes` gets what they note."""
    from rsdecode.cli.runtime import loading
    from rsdecode.config.build import build_models
    from rsdecode.evals.runner import shapes_of

    method: Any = plan.settings
    with loading(plan.config) as reporter:
        models = build_models(plan.config, [method], reporter)
    try:
        file.begin(shapes_of(method, models))
        with progress:
            work = _label_here(plan, file, models, progress, ending)
            asyncio.run(run_until_failure(work, [file.failure]))
    finally:
        notes += models.notes()
        models.close()


def label_there(
    address: str,
    plan: LabelPlan,
    file: ResultFile,
    progress: LabelProgress,
    notes: list[str],
    *,
    ending: Ending,
) -> None:
    """Label on the workers of a Ray cluster; `notes` gets what their models note."""
    from rsdecode.distributed.cluster import Cluster

    with Cluster(address) as cluster, progress:
        work = _label_there(cluster, plan, file, progress, notes, ending=ending)
        asyncio.run(work)


async def _label_here(
    plan: LabelPlan,
    file: ResultFile,
    models: Models,
    progress: LabelProgress,
    ending: Ending,
) -> None:
    from rsdecode.evals.grading import GradingPool
    from rsdecode.training.label_task import label_run

    def keep(record: dict[str, Any]) -> None:
        file.append(record)
        progress.add(record)

    done = file.done
    with GradingPool() as pool:
        labelling = label_run(
            plan.config, plan.settings, plan.kind, models, pool, written=plan.written
        )

        async def label(problems: Sequence[Problem]) -> None:
            await labelling.run(problems, done, keep)

        try:
            await _in_time(plan, file, label, progress, ending)
        finally:
            await labelling.close()


async def _label_there(
    cluster: Cluster,
    plan: LabelPlan,
    file: ResultFile,
    progress: LabelProgress,
    notes: list[str],
    *,
    ending: Ending,
) -> None:
    from rsdecode.cli.on_ray import crew_for
    from rsdecode.training.label_task import LabelTask, Unlabelled

    config = plan.config.model_dump(mode="json", exclude_unset=True)
    task = LabelTask(config, plan.settings, plan.kind.value, plan.written)

    def keep(records: Sequence[dict[str, Any]]) -> None:
        for record in records:
            file.append(record)
            progress.add(record)

    done = file.done
    async with crew_for(cluster, plan.config, [task], notes) as crew:
        file.begin(await crew.shapes(task))

        async def label(problems: Sequence[Problem]) -> None:
            items = [Unlabelled.of(problem, plan.places(problem), done) for problem in problems]
            await crew.run(task, items, keep)

        work = _in_time(plan, file, label, progress, ending)
        await run_until_failure(work, [file.failure])


async def _in_time(
    plan: LabelPlan, file: ResultFile, label: Label, progress: LabelProgress, ending: Ending
) -> None:
    """Label what is left of the problems, as far as the time goes."""
    left_s = None if ending.minutes is None else ending.minutes * 60 - progress.seconds
    time = asyncio.timeout(left_s)
    try:
        async with time:
            await _in_two_parts(plan, file, label, progress, ending)
    except TimeoutError:
        if not time.expired():
            raise
        progress.tell(f"--minutes {ending.minutes:g} are over; the same command goes on from here")


async def _in_two_parts(
    plan: LabelPlan,
    file: ResultFile,
    label: Label,
    progress: LabelProgress,
    ending: Ending,
) -> None:
    """First a few problems, which tell what the others will cost."""
    from rsdecode.training.label_costs import estimate

    done = file.done
    left = [
        problem
        for problem in plan.problems
        if any((problem.id, place) not in done for place in plan.places(problem))
    ]
    first = left[: max(4, plan.config.run.concurrency)]
    await label(first)
    rest = left[len(first) :]
    if rest:
        progress.tell(estimate(progress.tally, progress.seconds, len(rest)))
    if rest and not ending.only_estimate:
        await label(rest)
