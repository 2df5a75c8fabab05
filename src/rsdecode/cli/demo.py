"""`rsd demo`: draft, target and RSD on the embedded family, side by side."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rsdecode.cli.messages import print_note, print_warning
from rsdecode.cli.options import JsonOption
from rsdecode.config import RunConfig
from rsdecode.core.errors import ConfigError
from rsdecode.core.types import Problem

if TYPE_CHECKING:
    from rsdecode.core.protocols import Models
    from rsdecode.evals.evaluate import Result
    from rsdecode.evals.plots import SweepPoint

THRESHOLDS = tuple(tenth / 10 for tenth in range(11))
PICTURE = Path("runs/demo/accuracy-over-flops.png")
CONCURRENCY = 96
SLOTS = 192
"""Twice as many, so that no problem in flight loses its cache to one that has ended."""


def command(
    *,
    problems: Annotated[
        int, typer.Option("--problems", min=1, help="Test problems for each method.")
    ] = 200,
    level: Annotated[
        list[int] | None, typer.Option("--level", min=1, max=5, help="Difficulty; repeatable.")
    ] = None,
    threshold: Annotated[
        float, typer.Option("--threshold", min=0.0, max=1.0, help="Of RSD.")
    ] = 0.7,
    sweep: Annotated[
        bool, typer.Option("--sweep/--no-sweep", help="Also RSD at thresholds 0, 0.1 ... 1.")
    ] = True,
    picture: Annotated[
        Path, typer.Option("--picture", help="Where the picture of the sweep goes.")
    ] = PICTURE,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda.")] = "auto",
    json_output: JsonOption = False,
) -> None:
    """Draft alone, target alone and RSD on problems of the embedded family, side by side.

    Real models, in this process, offline: accuracy, tokens, acceptance and FLOPs of each method,
    and a picture of accuracy over FLOPs for all thresholds.
    """
    from rsdecode.cli.runtime import loading
    from rsdecode.config.build import build_models
    from rsdecode.evals.datasets import load_dataset
    from rsdecode.models.abacus import LEVELS

    config = RunConfig.model_validate(
        {
            "weighting": {"threshold": threshold},
            "engine": {"device": device, "slots": SLOTS},
        }
    )
    levels = ",".join(map(str, level or LEVELS))
    questions = load_dataset(f"abacus:test:{levels}", problems)
    with loading(config):
        models = build_models(config)
    try:
        methods, points = asyncio.run(_run(config, models, questions, sweep=sweep))
    finally:
        models.close()
    if json_output:
        print(json.dumps(_record(methods, points)))
    else:
        from rsdecode.cli.table import print_methods, print_sweep

        print_methods(methods)
        if points:
            print_sweep(points, methods)
    if points:
        _draw(methods, points, picture)


async def _run(
    config: RunConfig, models: Models, problems: Sequence[Problem], *, sweep: bool
) -> tuple[list[Result], list[SweepPoint]]:
    """The three methods, each on its own, then the sweep."""
    from rsdecode.cli.table import MethodProgress
    from rsdecode.config.build import build_method
    from rsdecode.evals.evaluate import evaluate
    from rsdecode.evals.memory import remembering
    from rsdecode.evals.plots import SweepPoint

    results: list[Result] = []
    points: list[SweepPoint] = []
    with MethodProgress(len(problems)) as progress:
        for name in ("draft", "target", "rsd"):
            method = build_method(config.model_copy(update={"method": name}))
            watch = progress.start(name)
            results.append(
                await evaluate(name, method, models, problems, concurrency=CONCURRENCY, watch=watch)
            )
        shared = remembering(models)
        for delta in THRESHOLDS if sweep else ():
            weighting = config.weighting.model_copy(update={"threshold": delta})
            method = build_method(config.model_copy(update={"weighting": weighting}))
            name = f"rsd {delta:g}"
            result = await evaluate(
                name,
                method,
                shared,
                problems,
                concurrency=CONCURRENCY,
                watch=progress.start(name),
            )
            points.append(SweepPoint(delta, result))
    return results, points


def _record(methods: Sequence[Result], points: Sequence[SweepPoint]) -> dict[str, Any]:
    from rsdecode.evals.stats import paired_difference

    target = next(result for result in methods if result.method == "target")
    sweep: list[dict[str, Any]] = []
    for point in points:
        difference = paired_difference(point.result.correct, target.correct)
        record = {
            "threshold": point.threshold,
            **point.result.as_record(),
            "method": "rsd",
            "difference_to_target": difference._asdict(),
        }
        del record["seconds"]  # replies are shared between thresholds
        sweep.append(record)
    return {"methods": [result.as_record() for result in methods], "sweep": sweep}


def _draw(methods: Sequence[Result], points: Sequence[SweepPoint], path: Path) -> None:
    from rsdecode.evals.plots import draw_frontier

    try:
        draw_frontier(methods, points, path)
    except ImportError:
        print_warning("no picture without matplotlib: pip install 'rsdecode[plots]'")
    except (OSError, ValueError) as error:
        raise ConfigError(f"--picture {path}: cannot be written: {error}") from error
    else:
        print_note(f"picture: {path}")
