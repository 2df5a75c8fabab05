"""The work of `rsd prm label`, in this process or on the workers of a Ray cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
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


def label_here(
    plan: LabelPlan,
    file: ResultFile,
    progress: LabelProgress,
    notes: list[str],
    *,
    only_estimate: bool,
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
            work = _label_here(plan, file, models, progress, only_estimate=only_estimate)
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
    only_estimate: bool,
) -> None:
    """Label on the workers of a Ray cluster; `notes` gets what their models note."""
    from rsdecode.distributed.cluster import Cluster

    with Cluster(address) as cluster, progress:
        work = _label_there(cluster, plan, file, progress, notes, only_estimate=only_estimate)
        asyncio.run(work)


async def _label_here(
    plan: LabelPlan,
    file: ResultFile,
    models: Models,
    progress: LabelProgress,
    *,
    only_estimate: bool,
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
            await _in_two_parts(plan, file, label, progress, only_estimate=only_estimate)
        finally:
            await labelling.close()


async def _label_there(
    cluster: Cluster,
    plan: LabelPlan,
    file: ResultFile,
    progress: LabelProgress,
    notes: list[str],
    *,
    only_estimate: bool,
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

        work = _in_two_parts(plan, file, label, progress, only_estimate=only_estimate)
        await run_until_failure(work, [file.failure])


async def _in_two_parts(
    plan: LabelPlan,
    file: ResultFile,
    label: Label,
    progress: LabelProgress,
    *,
    only_estimate: bool,
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
    if rest and not only_estimate:
        await label(rest)
