"""`rsd prm test`: what reward models are worth on labelled steps."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rsdecode.cli.messages import InterruptedRun, print_note, print_warning
from rsdecode.cli.options import RunOptions, with_run_options
from rsdecode.core.counted import counted
from rsdecode.core.errors import ConfigError

if TYPE_CHECKING:
    from rsdecode.config import RunConfig
    from rsdecode.training.scoring import Scores
    from rsdecode.training.solutions import LabelledSolution


@with_run_options
def command(
    options: RunOptions,
    *,
    data: Annotated[
        list[Path],
        typer.Option(
            "--data",
            help="Folder of rsd prm label (its held-out problems), or a file in any known layout.",
        ),
    ],
    against: Annotated[
        list[str] | None,
        typer.Option("--against", help="Another reward model, side by side; may be given again."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="Lines of each file, at most.")
    ] = None,
    at: Annotated[
        float,
        typer.Option("--at", min=0, max=1, help="Score from which on a step counts right."),
    ] = 0.5,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for prm.md, prm.html, prm.json, pictures.")
    ] = None,
    json_output: Annotated[
        bool, typer.Option("--json", help="One JSON object on stdout instead of tables.")
    ] = False,
) -> int:
    """Measure reward models on labelled steps: --reward, and each one --against.

    Area under ROC, accuracy, F1 of first errors as in ProcessBench, calibration, by the step's
    place and by the kind of error, with intervals by problem. Reads the folders of rsd prm label,
    and files of PRM800K, Math-Shepherd, PRMBench, ProcessBench and TRL.

    Exit code: 0 measured; 1 some solutions could not be scored, or lines not be read; 2 the
    options, the data or a model are wrong; 130 interrupted (143 by SIGTERM).
    """
    from rsdecode.training.prm_page import write_report
    from rsdecode.training.prm_report import measure, tables

    config = options.load()
    solutions, bad = _solutions(data, limit)
    specs: list[str] = list(dict.fromkeys([config.reward.spec, *(against or ())]))
    measured = [measure(scores, at) for scores in _scored(config, specs, solutions)]
    for one in measured:
        if one.scores.failed:
            print_warning(
                f"{one.scores.name}: {counted(one.scores.failed, 'solution')} could not be scored: "
                f"{one.scores.reason}"
            )
    if out is not None:
        for path in write_report(out, [str(path) for path in data], measured):
            print_note(str(path))
    if json_output:
        record = {"data": [str(path) for path in data], "solutions": len(solutions)}
        print(json.dumps({**record, "rewards": [one.as_record() for one in measured]}), flush=True)
    else:
        for table in tables(measured):
            _print(table.title, table.rows, table.note)
    return 1 if bad or any(one.scores.failed for one in measured) else 0


def _solutions(data: list[Path], limit: int | None) -> tuple[list[LabelledSolution], int]:
    from rsdecode.training.label_files import HELD_OUT
    from rsdecode.training.layouts import read_labels

    found: list[LabelledSolution] = []
    files: list[str] = []
    bad = 0
    for path in data:
        file = path / HELD_OUT if path.is_dir() else path
        if path.is_dir() and not file.is_file():
            raise ConfigError(f"--data {path} has no {HELD_OUT}: give a file, or a folder with one")
        files.append(str(file))
        read = read_labels(file, limit)
        for line in read.bad[:3]:
            print_warning(f"{file}, line {line.number}: {line.reason}")
        if len(read.bad) > 3:
            print_warning(f"{file}: and {counted(len(read.bad) - 3, 'line')} more")
        bad += len(read.bad)
        if read.solutions:
            print_note(f"{file}: {counted(len(read.solutions), 'solution')} ({read.layout})")
        found += read.solutions
    if not found:
        raise ConfigError(f"{', '.join(files)}: there is no labelled solution in it")
    return found, bad


def _scored(config: RunConfig, specs: list[str], solutions: list[LabelledSolution]) -> list[Scores]:
    from rsdecode.cli.runtime import loading
    from rsdecode.config.build import ModelBuilder
    from rsdecode.core.types import Role
    from rsdecode.training.scoring import score_solutions

    found: list[Scores] = []
    each = [config if spec == config.reward.spec else _of(config, spec) for spec in specs]
    for own in each:
        ModelBuilder(own, {Role.REWARD}).check()
    for spec, own in zip(specs, each, strict=True):
        builder = ModelBuilder(own, {Role.REWARD})
        with loading(own):
            reward = builder.reward()
        total = len(solutions)

        def tell(done: int, spec: str = spec, total: int = total) -> None:
            if done == total or done % 512 == 0:
                print_note(f"{spec}: {done:,} of {counted(total, 'solution')} scored")

        try:
            found.append(asyncio.run(score_solutions(spec, reward, solutions, tell)))
        except KeyboardInterrupt:
            raise InterruptedRun("interrupted: nothing was written") from None
        finally:
            builder.close()
    return found


def _of(config: RunConfig, spec: str) -> RunConfig:
    """The configuration with another reward, which is read as its checkpoint says."""
    from rsdecode.config import load_config

    settings = config.model_dump(mode="json", exclude_unset=True)
    return load_config(None, {"reward.spec": spec, **_flat(settings, skip="reward")})


def _flat(settings: dict[str, object], prefix: str = "", skip: str = "") -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in settings.items():
        if key == skip and not prefix:
            continue
        if isinstance(value, dict):
            found |= _flat(value, f"{prefix}{key}.")  # pyright: ignore[reportUnknownArgumentType]
        else:
            found[f"{prefix}{key}"] = value
    return found


def _print(title: str, rows: list[list[str]], note: str) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, header_style="bold")
    head, *body = rows
    for place, name in enumerate(head):
        table.add_column(Text(name), justify="left" if place == 0 else "right")
    for row in body:
        table.add_row(*map(Text, row))
    console = Console(width=None if Console().is_terminal else 160)
    console.print(table)
    if note:
        console.print(Text(note, style="dim"))
