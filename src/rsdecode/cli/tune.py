"""`rsd tune`: the threshold of RSD for a budget, or for an accuracy, on your own models."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml

from rsdecode.cli.messages import print_note, print_warning
from rsdecode.cli.options import RunOptions, with_run_options
from rsdecode.config import RunConfig
from rsdecode.core.errors import ConfigError

if TYPE_CHECKING:
    from rsdecode.evals.tune import Goal, Point, Tuned


@with_run_options
def command(
    options: RunOptions,
    *,
    data: Annotated[
        str, typer.Option("--data", help="Problems with answers, as rsd eval takes them.")
    ] = "abacus:validation",
    limit: Annotated[int, typer.Option("--limit", min=2, help="Problems, at most.")] = 200,
    target_calls: Annotated[
        float | None,
        typer.Option("--target-calls", min=0, max=1, help="Share of steps by the target, at most."),
    ] = None,
    flops: Annotated[
        float | None,
        typer.Option("--flops", min=0, help="FLOPs relative to the target alone, at most."),
    ] = None,
    no_worse: Annotated[
        bool,
        typer.Option("--no-worse-than-target", help="The cheapest that is not less accurate."),
    ] = False,
    confidence: Annotated[
        float | None,
        typer.Option("--confidence", help="Of --no-worse-than-target; default 0.95."),
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option("--margin", help="Points of accuracy it may lose, in percent; default 0."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Configuration to write.")] = Path(
        "tuned.yaml"
    ),
    json_output: Annotated[
        bool, typer.Option("--json", help="One JSON object on stdout instead of a table.")
    ] = False,
) -> int:
    """Find the threshold of RSD for a goal, and write a configuration with it.

    Give one goal: --target-calls, --flops or --no-worse-than-target. The thresholds that were tried
    are shown with accuracy and cost. Greedy replies are shared between them.

    Exit code: 0 the goal is met; 1 it is not, and the nearest threshold is written; 2 the options,
    the configuration or a model are wrong; 130 interrupted (143 by SIGTERM).
    """
    goal, asked = _goal(target_calls, flops, no_worse, confidence, margin)
    config = _tunable(options.load())
    if not out.resolve().parent.is_dir():
        raise ConfigError(f"--out {out}: there is no folder {out.parent}; make it first")
    tuned = _search(config, goal, data, limit)
    doubt = goal.doubt(tuned.chosen)
    warnings = [doubt] if doubt is not None else []
    if not tuned.met:
        warnings.append(
            f"no threshold meets {asked} on {data}: {tuned.chosen.threshold:g} is the nearest"
        )
    for warning in warnings:
        print_warning(warning)
    _write(out, config, tuned.chosen, [f"{asked} on {data}", *warnings])
    if json_output:
        points = [point.as_record() for point in tuned.points]
        record = {"goal": asked, "data": data, "met": tuned.met, "warnings": warnings}
        chosen = tuned.chosen.as_record()
        print(json.dumps({**record, "chosen": chosen, "points": points, "out": str(out)}))
    else:
        _show(tuned)
    print_note(f"threshold {tuned.chosen.threshold:g}; rsd solve --config {out} uses it")
    return 0 if tuned.met else 1


def _goal(
    target_calls: float | None,
    flops: float | None,
    no_worse: bool,
    confidence: float | None,
    margin: float | None,
) -> tuple[Goal, str]:
    """The goal, and how it was asked for."""
    from rsdecode.evals.tune import FlopsBudget, NoWorse, TargetCalls

    given = [target_calls is not None, flops is not None, no_worse]
    if sum(given) != 1:
        raise ConfigError(
            "give one goal: --target-calls SHARE, --flops SHARE or --no-worse-than-target"
        )
    for name, value in (("--confidence", confidence), ("--margin", margin)):
        if value is not None and not no_worse:
            raise ConfigError(f"{name} {value:g} belongs to --no-worse-than-target")
    if target_calls is not None:
        return TargetCalls(target_calls), f"--target-calls {target_calls:g}"
    if flops is not None:
        return FlopsBudget(flops), f"--flops {flops:g}"
    confidence, margin = 0.95 if confidence is None else confidence, margin or 0.0
    if not 0.5 <= confidence < 1:
        raise ConfigError(f"--confidence {confidence:g} must be at least 0.5 and below 1")
    if not 0 <= margin <= 100:
        raise ConfigError(f"--margin {margin:g} must be points in percent, from 0 to 100")
    asked = f"--no-worse-than-target --confidence {confidence:g} --margin {margin:g}"
    return NoWorse(confidence, margin / 100), asked


def _tunable(config: RunConfig) -> RunConfig:
    from rsdecode.config.resolve import settled

    config = settled(config)
    if config.method != "rsd":
        raise ConfigError(f"method {config.method!r} has no threshold: rsd tune is for rsd")
    if config.weighting.kind != "step" or config.budget is not None:
        raise ConfigError("rsd tune finds the threshold of the step weighting without a budget")
    if config.run.samples != 1:
        raise ConfigError(f"samples {config.run.samples}: rsd tune takes one answer per problem")
    return config


def _search(config: RunConfig, goal: Goal, data: str, limit: int) -> Tuned:
    from rsdecode.cli.runtime import loading
    from rsdecode.config.build import build_models
    from rsdecode.evals.calibration import Calibration
    from rsdecode.evals.plan import EvalRequest, plan

    alone, rsd = plan(config, EvalRequest((data,), ("target", "rsd"), limit))
    for warning in config.warnings():
        print_warning(warning)
    with loading(config):
        models = build_models(config, [alone.method, rsd.method])
    try:
        return asyncio.run(_tune(Calibration(alone, rsd, models), goal))
    finally:
        for note in models.notes():
            print_warning(note)
        models.close()


async def _tune(calibration: Any, goal: Goal) -> Tuned:
    from rsdecode.evals.tune import FlopsBudget, tune

    async def run(threshold: float) -> Point:
        point = await calibration.point(threshold)
        if isinstance(goal, FlopsBudget) and point.relative_flops is None:
            raise ConfigError(
                "--flops: a model's shape is not known, so its FLOPs are not; use --target-calls"
            )
        print_note(
            f"threshold {threshold:g}: {100 * point.accuracy.estimate:.1f} % right, "
            f"{100 * point.target_calls.estimate:.1f} % of steps by the target"
        )
        return point

    print_note(f"{len(calibration.problems)} problems; first the target alone")
    with calibration:
        return await tune(goal, run)


def _write(out: Path, config: RunConfig, chosen: Point, comments: Sequence[str]) -> None:
    weighting = config.weighting.model_copy(update={"threshold": chosen.threshold})
    settings = config.model_copy(update={"weighting": weighting}).model_dump(mode="json")
    relative = chosen.relative_flops
    measured = (
        f"{len(chosen.outcomes)} problems: accuracy {chosen.accuracy.estimate:.3f}, "
        f"steps by the target {chosen.target_calls.estimate:.3f}"
        + ("" if relative is None else f", FLOPs {relative.estimate:.3f} of the target's")
    )
    lines = [f"# rsd tune {comments[0]}", *(f"# {text}" for text in [measured, *comments[1:]])]
    text = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)
    try:
        out.write_text("\n".join(lines) + f"\n{text}", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--out {out}: cannot be written: {error.strerror}") from error


def _show(tuned: Tuned) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, header_style="bold")
    for column in ("threshold", "accuracy", "to target", "steps by target", "FLOPs of target", ""):
        table.add_column(column, justify="right", no_wrap=True)
    for point in tuned.points:
        relative = point.relative_flops
        table.add_row(
            f"{point.threshold:g}",
            _percent(point.accuracy),
            _percent(point.difference(), "+"),
            _percent(point.target_calls),
            "-" if relative is None else _percent(relative),
            "<-" if point is tuned.chosen else "",
        )
    Console(width=None if Console().is_terminal else 120).print(table)


def _percent(interval: Any, sign: str = "") -> str:
    estimate, low, high = (f"{100 * value:{sign}.1f}" for value in interval)
    return f"{estimate} [{low}, {high}]"
