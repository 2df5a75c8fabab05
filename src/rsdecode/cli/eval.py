"""`rsd eval`: methods side by side on data sets, every answer kept."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from rsdecode.cli.language import tell_unreadable
from rsdecode.cli.messages import InterruptedRun, print_note, print_warning
from rsdecode.cli.on_ray import RayOption
from rsdecode.cli.options import RunOptions, with_run_options
from rsdecode.core.counted import counted
from rsdecode.core.errors import ConfigError

if TYPE_CHECKING:
    from rsdecode.cli.eval_progress import EvalProgress
    from rsdecode.config import RunConfig
    from rsdecode.core.protocols import Models
    from rsdecode.evals.plan import EvalRequest, EvalTask
    from rsdecode.results.comparison import ComparedMethod
    from rsdecode.results.store import ResultFile, ResultSet, Store

OUT = Path("runs/eval")


class Opened(NamedTuple):
    """A task and the file that its answers go to."""

    task: EvalTask
    file: ResultFile


@with_run_options
def command(
    options: RunOptions,
    *,
    data: Annotated[
        str, typer.Option("--data", help="Data sets, separated by commas: abacus:test, gsm8k, ...")
    ] = "abacus:test",
    methods: Annotated[
        str | None,
        typer.Option(
            "--methods",
            help="Methods, separated by commas: draft, target, rsd@0.5, beam@4, ...; by default "
            "draft, target and the configuration's.",
        ),
    ] = None,
    out: Annotated[
        Path,
        typer.Option("--out", help="Folder for the results; what it holds is not done again."),
    ] = OUT,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit", min=1, help="Problems of each data set; default all, 200 of abacus."
        ),
    ] = None,
    shuffle_seed: Annotated[
        int | None,
        typer.Option("--shuffle-seed", help="Take the problems in random order, from this seed."),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option("--shard", help="i/n: every n-th problem; shards may share --out."),
    ] = None,
    ray: RayOption = None,
    json_output: Annotated[
        bool, typer.Option("--json", help="One JSON object on stdout instead of tables.")
    ] = False,
) -> int:
    """Run methods on data sets, grade every answer and keep it.

    Each answer is stored as soon as it is there. The same command goes on where it was cut off, and
    a higher --limit or --samples adds to what is there; after anything that changes results, they
    are kept apart in the same folder. `rsd report` makes pictures and pages of it.

    Exit code: 0 all were decoded; 1 some failed or ran out of time; 2 the options, the
    configuration or a model are wrong; 130 interrupted (143 by SIGTERM).
    """
    from rsdecode.evals.plan import EvalRequest, plan
    from rsdecode.results.store import Shard, Store

    if "method" in options.given:
        raise ConfigError(f"--method {options.given['method']}: rsd eval takes --methods A,B,...")
    config = options.load()
    part = None if shard is None else Shard.parse(shard)
    names = tuple(dict.fromkeys(["draft", "target", config.method]))
    if methods is not None:
        names = _split(methods)
    asked = EvalRequest(split_data(data), names, limit, shuffle_seed, part)
    tasks = plan(config, asked)
    with Store(out, part) as store:
        if store.warning is not None:
            print_warning(store.warning)
        store.describe(_description(config, asked))
        opened = [Opened(task, store.cell(task.meta)) for task in tasks]
        _tell_new_code(store, opened)
        print_note(f"results: {out}")
        failed = _run(config, opened, ray)
        result_sets = [_asked_answers(task, file) for task, file in opened]
    if json_output:
        print(json.dumps(_record(asked, out, result_sets)), flush=True)
    else:
        _show(asked, result_sets)
    return 1 if failed else 0


def split_data(names: str) -> tuple[str, ...]:
    """The data sets of a list with commas; the levels of `abacus:test:2,3` are one of them."""
    parts: list[str] = []
    for part in names.split(","):
        if part.strip().isdecimal() and parts:
            parts[-1] += f",{part.strip()}"
        else:
            parts.append(part.strip())
    return tuple(part for part in parts if part)


def _split(names: str) -> tuple[str, ...]:
    return tuple(name for part in names.split(",") if (name := part.strip()))


def _description(config: RunConfig, asked: EvalRequest) -> dict[str, Any]:
    from rsdecode import __version__
    from rsdecode.config import resolved

    return {
        "data": asked.data,
        "methods": asked.methods,
        "limit": asked.limit,
        "shuffle_seed": asked.shuffle_seed,
        "shard": None if asked.shard is None else str(asked.shard),
        "version": __version__,
        "config": resolved(config),
    }


def _run(config: RunConfig, opened: Sequence[Opened], ray: str | None) -> int:
    """Do what is left; returns how many problems failed."""
    from rsdecode.cli.eval_progress import EvalProgress
    from rsdecode.cli.progress import tell_damage

    for task, file in opened:
        tell_damage(file.found, file.name, task.name)
    waiting = [(task, file) for task, file in opened if task.left(file.done)]
    progress = EvalProgress()
    if not waiting:
        print_note("all answers are there already")
        return 0
    notes: list[str] = []
    try:
        if ray is None:
            _run_here(config, waiting, progress, notes)
        else:
            _run_there(ray, config, waiting, progress, notes)
    except KeyboardInterrupt:
        raise InterruptedRun(
            f"interrupted: {counted(progress.done, 'answer')} added; the same command goes on from "
            "here"
        ) from None
    finally:
        for note in notes:
            print_warning(note)
        with ExitStack() as closing:
            for _, file in waiting:
                closing.callback(file.close, notes)
    return progress.errors


def _run_here(
    config: RunConfig,
    waiting: Sequence[tuple[EvalTask, ResultFile]],
    progress: EvalProgress,
    notes: list[str],
) -> None:
    """On models of this process; `notes` gets what they note."""
    from rsdecode.cli.runtime import loading
    from rsdecode.config.build import build_models
    from rsdecode.evals.runner import shapes_of
    from rsdecode.results.line_writer import run_until_failure

    with loading(config) as reporter:
        models = build_models(config, [task.method for task, _ in waiting], reporter)
    try:
        _tell_warnings(waiting)
        for task, file in waiting:
            file.begin(shapes_of(task.method, models))
        with progress:
            failures = [file.failure for _, file in waiting]
            asyncio.run(run_until_failure(_run_all(waiting, models, progress), failures))
    finally:
        notes += models.notes()
        models.close()


def _run_there(
    address: str,
    config: RunConfig,
    waiting: Sequence[tuple[EvalTask, ResultFile]],
    progress: EvalProgress,
    notes: list[str],
) -> None:
    """On the workers of a Ray cluster; `notes` gets what their models note."""
    from rsdecode.cli.on_ray import eval_on_ray
    from rsdecode.distributed.cluster import Cluster

    _tell_warnings(waiting)
    with Cluster(address) as cluster, progress:
        asyncio.run(eval_on_ray(cluster, config, waiting, progress, notes))


def _tell_warnings(waiting: Sequence[tuple[EvalTask, ResultFile]]) -> None:
    from rsdecode.cli.runtime import tell_warnings

    tell_warnings(*(task.config for task, _ in waiting))
    asked = (job.problem.question for task, _ in waiting for job in task.jobs)
    tell_unreadable((task.config for task, _ in waiting), asked)


async def _run_all(
    waiting: Sequence[tuple[EvalTask, ResultFile]], models: Models, progress: EvalProgress
) -> None:
    """The tasks one after the other, all on one event loop."""
    from rsdecode.cli.eval_progress import Tally
    from rsdecode.evals.grading import GradingPool
    from rsdecode.evals.runner import run_eval_task

    with GradingPool() as pool:
        for task, file in waiting:
            jobs = task.jobs
            earlier = [file.done[job.key] for job in jobs if job.key in file.done]
            watch = progress.start(task.name, Tally(len(jobs), earlier))
            await run_eval_task(
                task, task.left(file.done), models, file.append, pool=pool, watch=watch
            )


def _tell_new_code(store: Store, opened: Sequence[Opened]) -> None:
    for task, file in opened:
        older = [] if file.answers else store.older(task.meta)
        if older:
            print_note(
                f"{task.name}: {older[-1].stem} was answered by another version of the code; "
                "its answers stay there and are not mixed with those of this one"
            )


def _asked_answers(task: EvalTask, file: ResultFile) -> ResultSet:
    """The answers that were asked for, of all that are stored."""
    from rsdecode.results.store import ResultSet

    answers = file.answers
    return ResultSet(file.meta, [answers[job.key] for job in task.jobs if job.key in answers])


def _compared(
    asked: EvalRequest, result_sets: Sequence[ResultSet]
) -> dict[str, list[ComparedMethod]]:
    """By data set: each method, and how it compares to the target if that is there too."""
    from rsdecode.results.comparison import compare_methods

    groups: dict[str, list[ComparedMethod]] = {}
    for data in asked.data:
        own = [result_set for result_set in result_sets if result_set.meta.data == data]
        for result_set in own:
            if not result_set.records:
                print_warning(f"no answers of {result_set.meta.method} to {data}")
        groups[data] = compare_methods([result_set for result_set in own if result_set.records])
    return groups


def _record(asked: EvalRequest, out: Path, result_sets: Sequence[ResultSet]) -> dict[str, Any]:
    methods = [row.as_record() for rows in _compared(asked, result_sets).values() for row in rows]
    return {"methods": methods, "sweep": [], "data": list(asked.data), "out": str(out)}


def _show(asked: EvalRequest, result_sets: Sequence[ResultSet]) -> None:
    from rsdecode.cli.table import print_compared

    for data, rows in _compared(asked, result_sets).items():
        if rows:
            print_compared(data, rows)
