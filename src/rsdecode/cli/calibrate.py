"""`rsd calibrate`: makes a reward's numbers probabilities, so that a threshold means the same."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
import yaml

from rsdecode.cli.messages import print_note, print_warning
from rsdecode.cli.options import RunOptions, with_run_options
from rsdecode.cli.picture import check_picture, draw_picture
from rsdecode.config import RunConfig
from rsdecode.core.errors import ConfigError

if TYPE_CHECKING:
    from rsdecode.core.protocols import RewardModel
    from rsdecode.rewards.calibration import Calibration

FEW_STEPS = 200
FITS = ("isotonic", "platt")


@with_run_options
def command(
    options: RunOptions,
    *,
    data: Annotated[
        str,
        typer.Option(
            "--data",
            help="A file of labelled steps (rsd prm label, ProcessBench), a folder of rsd eval "
            "(its --out), or problems with answers, as rsd eval takes them.",
        ),
    ] = "abacus:validation",
    limit: Annotated[
        int, typer.Option("--limit", min=2, help="Solutions, answers or problems, at most.")
    ] = 200,
    how: Annotated[
        str, typer.Option("--fit", help="isotonic, or platt for few steps; default isotonic.")
    ] = "isotonic",
    out: Annotated[Path, typer.Option("--out", help="Configuration to write.")] = Path(
        "calibrated.yaml"
    ),
    picture: Annotated[
        Path | None, typer.Option("--picture", help="Reliability picture to draw, such as r.png.")
    ] = None,
    json_output: Annotated[
        bool, typer.Option("--json", help="One JSON object on stdout instead of a table.")
    ] = False,
) -> int:
    """Make a reward's numbers probabilities, from steps with outcomes.

    A monotone map goes from the reward to the share of steps that are right.
    From a file of labelled steps, each step counts as it is labelled. From what rsd eval has kept,
    the steps of an answer count as right if the answer is, and so do those of the draft where it
    is given problems to solve. The map is written beside the configuration, which names it
    (`reward.calibration`); rsd tune and all other commands use it.

    Exit code: 0 done; 2 the options, the data, the configuration or a model are wrong.
    """
    if how not in FITS:
        raise ConfigError(f"--fit {how!r} must be one of {', '.join(FITS)}")
    config = options.load()
    if config.reward.calibration is not None:
        config = _with_calibration(config, None)
    if not out.resolve().parent.is_dir():
        raise ConfigError(f"--out {out}: there is no folder {out.parent}; make it first")
    if out.is_dir():
        raise ConfigError(f"--out {out} is a folder: name a file in it")
    if picture is not None:
        check_picture(picture)
    rewards, right = _steps(config, data, limit)
    from rsdecode.evals import fitting

    found = fitting.fit("platt" if how == "platt" else "isotonic", rewards, right)
    if len(right) < FEW_STEPS:
        print_warning(f"{len(right)} steps are few: give more with --limit, or use --fit platt")
    file = out.with_suffix(".calibration.json")
    _write(out, file, config, found, f"--fit {how} on {len(right)} steps of {data}")
    rows = fitting.reliability(rewards, right)
    before = fitting.error(rewards, right)
    after = fitting.error(found.all(rewards), right)
    if picture is not None:
        from rsdecode.evals.report.reliability import reliability_picture

        draw_picture(reliability_picture(config.reward.spec, rewards, right, found), picture)
    if json_output:
        print(
            json.dumps(
                {
                    "reward": config.reward.spec,
                    "data": data,
                    "steps": len(right),
                    "right": sum(right) / len(right),
                    "error_before": before,
                    "error_after": after,
                    "reliability": [row._asdict() for row in rows],
                    "calibration": str(file),
                    "out": str(out),
                }
            )
        )
    else:
        print(f"{'reward':>13}  {'steps':>6}  {'right':>7}  calibrated")
        for row in rows:
            middle = found.probability(row.mean)
            span = f"{row.low:6.2f}-{row.high:<6.2f}"
            print(f"{span}  {row.steps:6d}  {row.right:7.3f}  {middle:.3f}")
        print(f"calibration error: {before:.3f} before, {after:.3f} after (on these steps)")
    print_note(f"{file}; rsd solve --config {out} uses it")
    return 0


def _steps(config: RunConfig, data: str, limit: int) -> tuple[list[float], list[bool]]:
    """Rewards, and whether the steps are right."""
    path = Path(data).expanduser()
    if _is_labelled(path):
        return _labelled(config, path, limit)
    if path.is_dir():
        return _stored(config, path, limit)
    return _solved(config, data, limit)


def _is_labelled(path: Path) -> bool:
    """Whether a file's first line has steps with labels."""
    if not path.is_file():
        return False
    with path.open(encoding="utf-8", errors="replace") as lines:
        first = next((line for line in lines if line.strip()), "")
    return '"labels"' in first or ('"steps"' in first and '"label"' in first)


def _labelled(config: RunConfig, path: Path, limit: int) -> tuple[list[float], list[bool]]:
    from rsdecode.evals.labelled import read_labelled, score_labelled

    solutions = read_labelled(path, limit)
    if not solutions:
        raise ConfigError(f"--data {path} holds no solutions")
    with _reward(config) as reward:
        if _reads_draft(reward):
            raise ConfigError(
                f"{config.reward.spec} knows only steps as the draft wrote them: give problems "
                "with answers to --data, which the draft then solves"
            )
        return asyncio.run(score_labelled(reward, solutions))


def _stored(config: RunConfig, folder: Path, limit: int) -> tuple[list[float], list[bool]]:
    """Answers of an evaluation; each of their steps is as right as the answer."""
    from rsdecode.evals.stored_steps import read_stored, stored_rewards

    answers = read_stored(folder, config, limit)
    if all(None not in answer.rewards for answer in answers):
        return asyncio.run(stored_rewards(None, answers))
    with _reward(config) as reward:
        reads = None if _reads_draft(reward) else reward
        rewards, right = asyncio.run(stored_rewards(reads, answers))
    if not rewards:
        raise ConfigError(
            f"--data {folder}: {config.reward.spec} knows only steps as the draft wrote them, and "
            "has judged none there: give an evaluation of rsd@0 with this reward"
        )
    return rewards, right


@contextmanager
def _reward(config: RunConfig) -> Generator[RewardModel]:
    """The reward model alone, and whose probabilities it reads."""
    from rsdecode.cli.runtime import loading
    from rsdecode.config.build import ModelBuilder
    from rsdecode.core.types import Role

    builder = ModelBuilder(config, [Role.REWARD])
    try:
        with loading(config):
            model = builder.reward()
        yield model
    finally:
        builder.close()


def _reads_draft(model: RewardModel) -> bool:
    from rsdecode.core.protocols import ReadsDraft

    return isinstance(model, ReadsDraft) and model.reads_draft


def _solved(config: RunConfig, data: str, limit: int) -> tuple[list[float], list[bool]]:
    """The draft solves problems; each of its steps is as right as its answer."""
    from rsdecode.cli.runtime import loading, tell_warnings
    from rsdecode.config.build import build_models
    from rsdecode.config.resolve import settled
    from rsdecode.evals.calibration import Calibration as Sweep
    from rsdecode.evals.plan import EvalRequest, plan

    config = settled(config.model_copy(update={"method": "rsd@0"}))
    alone, rsd = plan(config, EvalRequest((data,), ("target", "rsd@0"), limit))
    with loading(config):
        models = build_models(config, [rsd.method])
    try:
        tell_warnings(config)
        with Sweep(alone, rsd, models) as sweep:
            outcomes = asyncio.run(sweep.rewarded())
    finally:
        models.close()
    pairs = [(reward, o.correct) for o in outcomes for reward in o.rewards]
    return [reward for reward, _ in pairs], [right for _, right in pairs]


def _with_calibration(config: RunConfig, file: str | None) -> RunConfig:
    reward = config.reward.model_copy(update={"calibration": file})
    return config.model_copy(update={"reward": reward})


def _write(out: Path, file: Path, config: RunConfig, found: Calibration, how: str) -> None:
    record = {"reward": config.reward.spec, "fit": how, **found.as_record()}
    settings = _with_calibration(config, str(file)).model_dump(mode="json", exclude_unset=True)
    text = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)
    try:
        file.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        out.write_text(f"# rsd calibrate {how}\n{text}", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--out {out}: cannot be written: {error.strerror}") from error
