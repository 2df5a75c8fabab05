"""`rsd tune`: the threshold of RSD for a budget, or for an accuracy, on your own models."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml

from rsdecode.cli.messages import print_note, print_warning
from rsdecode.cli.options import RunOptions, with_run_options
from rsdecode.config import RunConfig
from rsdecode.core.counted import counted
from rsdecode.core.errors import ConfigError

if TYPE_CHECKING:
    from rsdecode.core.protocols import Models
    from rsdecode.evals.cascades import Cascades
    from rsdecode.evals.plan import EvalTask
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
    are shown with accuracy and cost. Greedy replies are shared between them. A cascade without
    bounds is given them too, so that its second reward is asked as little as the goal allows.

    Exit code: 0 the goal is met; 1 it is not, and the nearest threshold is written; 2 the options,
    the configuration or a model are wrong; 130 interrupted (143 by SIGTERM).
    """
    goal, asked = _goal(target_calls, flops, no_worse, confidence, margin)
    config = _tunable(options.load())
    unbounded = _is_unbounded(config)
    if unbounded:
        goal, config = _with_more_tests(goal), _with_bounds(config, (0.0, 1.0))
    if not out.resolve().parent.is_dir():
        raise ConfigError(f"--out {out}: there is no folder {out.parent}; make it first")
    if out.is_dir():
        raise ConfigError(f"--out {out} is a folder: name a file in it")
    tuned, cascades = _search(config, goal, data, limit, unbounded=unbounded)
    if cascades is not None:
        config = _with_bounds(config, cascades.chosen.bounds)
        tuned = replace(tuned, chosen=cascades.chosen.point, met=cascades.met)
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
        more = {} if cascades is None else {"cascades": cascades.as_records()}
        bounds = {} if cascades is None else {"bounds": list(cascades.chosen.bounds)}
        record |= {"chosen": chosen | bounds, "points": points, **more, "out": str(out)}
        print(json.dumps(record))
    else:
        _show(tuned)
        if cascades is not None:
            _show_cascades(cascades)
    told = "" if cascades is None else "bounds {:g}, {:g} and ".format(*cascades.chosen.bounds)
    print_note(f"{told}threshold {tuned.chosen.threshold:g}; rsd solve --config {out} uses it")
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
        raise ConfigError(
            f"samples {config.run.samples}: rsd tune takes one answer per problem (--samples 1)"
        )
    return config


def _is_unbounded(config: RunConfig) -> bool:
    """Whether the reward is a cascade that has no bounds.

    Raises:
        ConfigError: its rewards go through something that was made for bounds.
    """
    from rsdecode.config.specs import SpecKind, parse_reward_spec

    if config.reward.bounds or parse_reward_spec(config.reward.spec).kind is not SpecKind.CASCADE:
        return False
    for name, value in (
        ("reward.calibration", config.reward.calibration),
        ("thinking.gate", config.thinking.gate),
    ):
        if value is not None:
            raise ConfigError(
                f"{name} {value!r}: rsd tune finds a cascade's bounds without it; leave it out, or "
                "give the bounds (--reward-bounds)"
            )
    return True


def _with_bounds(config: RunConfig, bounds: tuple[float, float]) -> RunConfig:
    reward = config.reward.model_copy(update={"bounds": (float(bounds[0]), float(bounds[1]))})
    return config.model_copy(update={"reward": reward})


def _with_more_tests(goal: Goal) -> Goal:
    """The goal, where cascades are tried beside thresholds."""
    from rsdecode.evals.cascades import SHARES
    from rsdecode.evals.tune import NoWorse

    return replace(goal, tests=goal.tests + len(SHARES)) if isinstance(goal, NoWorse) else goal


def _search(
    config: RunConfig, goal: Goal, data: str, limit: int, *, unbounded: bool
) -> tuple[Tuned, Cascades | None]:
    from rsdecode.cli.runtime import loading, tell_warnings
    from rsdecode.config.build import build_models
    from rsdecode.evals.calibration import Calibration
    from rsdecode.evals.plan import EvalRequest, plan

    alone, rsd = plan(config, EvalRequest((data,), ("target", "rsd"), limit))
    with loading(config):
        models = build_models(config, [alone.method, rsd.method])
    try:
        tell_warnings(config)
        if unbounded:
            return asyncio.run(_tune_cascade(alone, rsd, models, goal))
        with Calibration(alone, rsd, models) as calibration:
            return asyncio.run(_tune(calibration, goal)), None
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

    print_note(f"{counted(len(calibration.problems), 'problem')}; first the target alone")
    return await tune(goal, run)


async def _tune_cascade(
    alone: EvalTask, rsd: EvalTask, models: Models, goal: Goal
) -> tuple[Tuned, Cascades]:
    """The threshold by the second reward alone, and the bounds of the first."""
    from rsdecode.evals.calibration import Calibration
    from rsdecode.evals.cascades import BothRewards, Bounds, cascade_for
    from rsdecode.rewards.gates import CascadeReward

    assert isinstance(models.reward, CascadeReward)
    first, second = models.reward.parts
    both = BothRewards(first, second)

    async def run(bounds: Bounds) -> Point:
        cascade = CascadeReward(first, second, *bounds)
        point = await calibration.with_reward(cascade).point(threshold)
        print_note(
            f"bounds {bounds.low:g}, {bounds.high:g}: {100 * point.accuracy.estimate:.1f} % right, "
            f"{100 * bounds.asks(both.pairs):.1f} % of drafts to the second reward"
        )
        return point

    with Calibration(alone, rsd, replace(models, reward=both)) as calibration:
        tuned = await _tune(calibration, goal)
        threshold = tuned.chosen.threshold
        return tuned, await cascade_for(goal, both.pairs, threshold, run)


def _write(out: Path, config: RunConfig, chosen: Point, comments: Sequence[str]) -> None:
    weighting = config.weighting.model_copy(update={"threshold": chosen.threshold})
    settings = config.model_copy(update={"weighting": weighting}).model_dump(mode="json")
    relative = chosen.relative_flops
    measured = (
        f"{counted(len(chosen.outcomes), 'problem')}: accuracy {chosen.accuracy.estimate:.3f}, "
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


def _show_cascades(cascades: Cascades) -> None:
    print(f"{'bounds':>15}  {'to the second':>13}  accuracy")
    for each in cascades.tried:
        mark = " <-" if each is cascades.chosen else ""
        bounds = f"{each.bounds.low:g}, {each.bounds.high:g}"
        print(f"{bounds:>15}  {100 * each.asked:11.1f} %  {_percent(each.point.accuracy)}{mark}")


def _percent(interval: Any, sign: str = "") -> str:
    estimate, low, high = (f"{100 * value:{sign}.1f}" for value in interval)
    return f"{estimate} [{low}, {high}]"
