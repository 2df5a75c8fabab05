"""`rsd demo`: draft, target and RSD on the embedded family, side by side."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rsdecode.cli.options import JsonOption
from rsdecode.cli.picture import check_picture, draw_picture
from rsdecode.config import RunConfig, load_config
from rsdecode.core.errors import ConfigError

if TYPE_CHECKING:
    from rsdecode.core.protocols import Models
    from rsdecode.evals.plan import EvalTask
    from rsdecode.results.store import ResultSet

FAMILY = ("abacus:draft", "abacus:target", "abacus:prm")
METHODS = ("draft", "target", "rsd")
THRESHOLDS = tuple(tenth / 10 for tenth in range(11))
PICTURE = Path("runs/demo/accuracy-over-flops.png")
CONCURRENCY = 192


def command(
    *,
    problems: Annotated[
        int, typer.Option("--problems", min=1, help="Test problems for each method.")
    ] = 200,
    level: Annotated[
        list[int] | None, typer.Option("--level", min=1, max=5, help="Difficulty; repeatable.")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option("--threshold", min=0, max=1, help="Of RSD; default 0.7.")
    ] = None,
    sweep: Annotated[
        bool, typer.Option("--sweep/--no-sweep", help="Also RSD at thresholds 0, 0.1 ... 1.")
    ] = True,
    picture: Annotated[
        Path, typer.Option("--picture", help="Where the picture of the sweep goes.")
    ] = PICTURE,
    config: Annotated[
        Path | None,
        typer.Option("--config", help="YAML file without models of its own; options win over it."),
    ] = None,
    concurrency: Annotated[
        int | None,
        typer.Option("--concurrency", min=1, help=f"Problems in flight; default {CONCURRENCY}."),
    ] = None,
    device: Annotated[
        str | None, typer.Option("--device", help="auto, cpu, cuda; default auto.")
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            "--threads", min=1, help="Of a forward pass on a processor; default as many as help."
        ),
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """Draft alone, target alone and RSD on problems of the embedded family, side by side.

    Real models, in this process, offline: accuracy, tokens, acceptance and FLOPs of each method,
    and a picture of accuracy over FLOPs for all thresholds.
    """
    from rsdecode.evals.plan import EvalRequest, plan
    from rsdecode.models.abacus import LEVELS

    given = {
        "weighting.threshold": threshold,
        "run.concurrency": concurrency,
        "engine.device": device,
        "engine.threads": threads,
    }
    settings = _settings(config, {key: v for key, v in given.items() if v is not None})
    if sweep:
        check_picture(picture)
    data = "abacus:test:" + ",".join(map(str, level or LEVELS))
    names = (*METHODS, *(f"rsd@{delta:g}" for delta in THRESHOLDS if sweep))
    tasks = plan(settings, EvalRequest((data,), names, problems))
    result_sets = _solve(settings, tasks)
    if json_output:
        print(json.dumps(_record(result_sets)))
    else:
        from rsdecode.cli.table import print_compared
        from rsdecode.results.comparison import compare_methods

        print_compared(data, compare_methods(result_sets))
    if sweep:
        from rsdecode.evals.report.content import compare_result_sets
        from rsdecode.evals.report.pictures import frontier

        draw_picture(frontier(compare_result_sets(data, result_sets)), picture)


def _settings(file: Path | None, given: Mapping[str, Any]) -> RunConfig:
    """The configuration: file, then options.

    Raises:
        ConfigError: it is wrong, or about other models or methods than those of the demo.
    """
    config = load_config(file, given, {key: f"--{key.rpartition('.')[2]}" for key in given})
    models = config.draft, config.target, config.reward.spec
    if models != FAMILY or config.method_name.kind != "rsd":
        raise ConfigError(
            f"--config {file}: rsd demo is draft, target and rsd on {', '.join(FAMILY)}; rsd eval "
            "takes other models and methods"
        )
    run, engine = config.run, config.engine
    if "concurrency" not in run.model_fields_set:
        run = run.model_copy(update={"concurrency": CONCURRENCY})
    if "slots" not in engine.model_fields_set:
        engine = engine.model_copy(update={"slots": run.concurrency})
    return config.model_copy(update={"run": run, "engine": engine})


def _solve(config: RunConfig, tasks: Sequence[EvalTask]) -> list[ResultSet]:
    """Run the tasks and keep their answers in memory."""
    from rsdecode.cli.runtime import loading, tell_warnings
    from rsdecode.config.build import build_models

    with loading(config):
        models = build_models(config)
    try:
        tell_warnings(config)
        return asyncio.run(_run(tasks, models))
    finally:
        models.close()


async def _run(tasks: Sequence[EvalTask], models: Models) -> list[ResultSet]:
    """One task after the other; a threshold is given the greedy replies of those before it."""
    from rsdecode.cli.eval_progress import EvalProgress, Tally
    from rsdecode.evals.grading import GradingPool
    from rsdecode.evals.memory import remembering
    from rsdecode.evals.runner import run_eval_task, shapes_of
    from rsdecode.results.store import ResultSet

    shared = remembering(models)
    result_sets: list[ResultSet] = []
    with EvalProgress() as progress, GradingPool() as pool:
        for task in tasks:
            result_set = ResultSet(replace(task.meta, shapes=shapes_of(task.method, models)), [])
            watch = progress.start(task.meta.method, Tally(len(task.jobs)))
            await run_eval_task(
                task, task.jobs, shared, result_set.records.append, pool=pool, watch=watch
            )
            result_sets.append(result_set)
    return result_sets


def _record(result_sets: Sequence[ResultSet]) -> dict[str, Any]:
    """As `rsd eval --json`, with RSD over the thresholds apart."""
    from rsdecode.results.comparison import compare_methods

    records = [row.as_record() for row in compare_methods(result_sets)]
    sweep = [
        {"threshold": delta, **record}
        for delta, record in zip(THRESHOLDS, records[len(METHODS) :], strict=False)
    ]
    for record in sweep:
        del record["seconds"], record["latency"]  # replies are shared between thresholds
    return {"methods": records[: len(METHODS)], "sweep": sweep}
