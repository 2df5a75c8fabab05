"""`rsd plan`: how many replicas of each model a load needs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rsdecode.cli.messages import print_note, print_warning
from rsdecode.cli.options import RunOptions, with_run_options
from rsdecode.core.counted import counted
from rsdecode.core.errors import ConfigError

if TYPE_CHECKING:
    from rsdecode.capacity.planning import Plan
    from rsdecode.capacity.service_times import Measured
    from rsdecode.config import RunConfig

PROBLEMS = 32


@with_run_options
def command(
    options: RunOptions,
    *,
    rate: Annotated[float, typer.Option("--rate", help="Problems that arrive in a second.")],
    latency: Annotated[
        float, typer.Option("--latency", help="Seconds in which 95 % of them are to be solved.")
    ],
    data: Annotated[
        str, typer.Option("--data", help="Problems like those to come, as rsd eval takes them.")
    ] = "abacus:test",
    problems: Annotated[
        int, typer.Option("--problems", min=1, help="Of the short run that is measured.")
    ] = PROBLEMS,
    measured: Annotated[
        Path | None,
        typer.Option("--measured", help="A run that --save kept, in place of a new one."),
    ] = None,
    save: Annotated[
        Path | None, typer.Option("--save", help="Keep what was measured in this file.")
    ] = None,
    json_output: Annotated[
        bool, typer.Option("--json", help="One JSON object on stdout instead of a table.")
    ] = False,
) -> int:
    """Propose replicas of each model for a load, and name the bottleneck.

    A short run over the configuration's models measures what problems ask for and how long each
    model takes, on the machine that the command runs on; a simulation does the rest. GPUs of a
    replica are ray.draft.gpus, ray.target.gpus and ray.reward.gpus (default 1); fractions share
    one.

    Exit code: 0; 2 the options, the configuration or a model are wrong, or no number of replicas is
    fast enough.
    """
    from rsdecode.capacity.planning import gpus_of, propose
    from rsdecode.cli.runtime import with_one_sample

    for name, value in (("--rate", rate), ("--latency", latency)):
        if not 0 < value < float("inf"):
            raise ConfigError(f"{name} {value:g}: must be a number above 0")
    if save is not None and not save.resolve().parent.is_dir():
        raise ConfigError(f"--save {save}: there is no folder {save.parent}; make it first")
    config = with_one_sample(options.load(), "--rate counts answers, each to a problem of its own")
    if config.lookahead:
        print_warning("lookahead is not simulated: the plan is for lookahead 0")
        config = config.model_copy(update={"lookahead": 0})
    found = _measured(config, data, problems, measured)
    if save is not None:
        found.save(save)
    gpus = {role: gpus_of(config, role) for role in found.times}
    plan = propose(found, gpus, rate, latency)
    if json_output:
        print(json.dumps(plan.record() | {"measured": dict(found.about)}), flush=True)
    else:
        _show(plan, latency)
    return 0


def _measured(config: RunConfig, data: str, problems: int, file: Path | None) -> Measured:
    """What a file holds, or a short run gives."""
    from rsdecode.capacity.measuring import measure
    from rsdecode.capacity.service_times import Measured
    from rsdecode.cli.runtime import loaded
    from rsdecode.config.build import build_problem
    from rsdecode.evals.datasets import load_dataset

    if file is not None:
        found = Measured.load(file)
        here_is = {"draft": config.draft, "target": config.target, "reward": config.reward.spec}
        for key, here in {**here_is, "method": config.method}.items():
            if found.about.get(key) != here:
                print_warning(f"{file} was measured with {key} {found.about.get(key)}, not {here}")
        return found
    asked = [
        build_problem(config, p.question, id=p.id, before=p.messages[:-1])
        for p in load_dataset(data, problems)
    ]
    with loaded(config) as runtime:
        print_note(f"measuring {counted(len(asked), 'problem')} of {data}, then each model alone")
        return measure(config, runtime.models, runtime.method, asked)


def _show(plan: Plan, latency: float) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("model", "replicas", "GPUs of each", "GPUs", "busy")
    for role, of in plan.deployment.items():
        total = f"{of.count * of.device:g}"
        busy = f"{plan.at_rate.busy[role]:.0%}"
        table.add_row(role.value, str(of.count), f"{of.device:g}", total, busy)
    Console().print(table)
    outcome = plan.at_rate
    print(
        f"GPUs in all: {plan.gpus:g}. At {plan.rate:g} problems/s: "
        f"median {outcome.latency_s(0.5):.3g} s, "
        f"95 % within {outcome.latency_s():.3g} s (asked: {latency:g} s), "
        f"up to {outcome.in_flight} in flight (run.concurrency)."
    )
    print(
        f"At most {plan.full.problems_per_s:.3g} problems/s; the {plan.bottleneck} is the "
        "bottleneck."
    )
