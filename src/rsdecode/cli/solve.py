"""`rsd solve`: one question, or a file of them."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rsdecode.cli.language import tell_unreadable
from rsdecode.cli.messages import print_error
from rsdecode.cli.on_ray import RayOption
from rsdecode.cli.options import JsonOption, RunOptions, with_run_options
from rsdecode.config import RunConfig
from rsdecode.core.conversation import check_question
from rsdecode.core.errors import ConfigError, InputError
from rsdecode.evals.datasets.lines import Question

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from rsdecode.cli.runtime import Runtime
    from rsdecode.cli.trace import Trace
    from rsdecode.core.types import Trajectory
    from rsdecode.session.handle import Events


@with_run_options
def command(
    options: RunOptions,
    *,
    question: Annotated[
        str | None, typer.Argument(help="The question; '-' or a pipe reads stdin.", metavar="TEXT")
    ] = None,
    input: Annotated[  # the option's name
        Path | None,
        typer.Option(
            "--input",
            help='Lines of {"id"?, "question", "answer"?}; "problem" and SVAMP\'s keys work too. '
            "Or a data set by name: abacus:test, abacus:validation:2,3, gsm8k, math500.",
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="Only the first questions of --input.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", help="Results by line; what it holds already is not redone."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Forget what --output holds.")
    ] = False,
    ray: RayOption = None,
    json_output: JsonOption = False,
) -> int:
    """Solve a question step by step, or every question of a file.

    Exit code: 0 all were decoded; 1 some failed or ran out of time, or input lines were unusable;
    2 the options, the configuration or a model are wrong; 130 interrupted (143 by SIGTERM).
    """
    _check_combination(question, input, output, overwrite=overwrite, json_output=json_output)
    if ray is not None and input is None:
        raise ConfigError(f"--ray {ray} needs --input FILE: one question needs no cluster")
    if limit is not None and input is None:
        raise ConfigError(f"--limit {limit} needs --input FILE: it is the number of its questions")
    config = options.load()
    if input is None:
        return solve_question(config, _question_text(question), to_stdout=json_output)
    from rsdecode.cli.batch import solve_file

    return solve_file(
        config, input, output, limit=limit, overwrite=overwrite, to_stdout=json_output, ray=ray
    )


def solve_question(config: RunConfig, text: str, *, to_stdout: bool) -> int:
    """Solve one question and show it, or print its record; returns the exit code."""
    from rsdecode.cli.runtime import loaded
    from rsdecode.cli.trace import open_trace

    async def run(runtime: Runtime) -> int:
        trace = None if to_stdout else open_trace(config.answer.marks)
        failed = 0
        async with aclosing(_solved(runtime, text, trace)) as trajectories:
            async for trajectory in trajectories:
                unanswered = trajectory.stop_reason in ("error", "cancelled")
                failed += unanswered
                if unanswered:
                    print_error(trajectory.error or "a request failed")
                if trace is None:
                    print(json.dumps(runtime.record(trajectory)), flush=True)
                else:
                    trace.end(trajectory, runtime.models.shapes())
        return 1 if failed else 0

    with loaded(config) as runtime:
        tell_unreadable([config], [text])
        return asyncio.run(run(runtime))


async def _solved(runtime: Runtime, text: str, trace: Trace | None) -> AsyncGenerator[Trajectory]:
    """The samples of one question; the steps of the first are shown as they are decided."""
    from rsdecode.session.events import Decided

    events: Events = "none" if trace is None else "steps"
    async with runtime.session() as session:
        jobs = runtime.jobs(Question("0", text))
        for handle in [session.submit_job(job, events=events) for job in jobs]:
            async for event in handle:
                if trace is not None and isinstance(event, Decided):
                    trace.step(event.step)
            yield await handle.result()


def _check_combination(
    question: str | None,
    source: Path | None,
    output: Path | None,
    *,
    overwrite: bool,
    json_output: bool,
) -> None:
    if question is not None and source is not None:
        raise ConfigError(f"give either a question or --input {source}, not both")
    if output is not None and source is None:
        raise ConfigError(f"--output {output} needs --input FILE; --json prints one result")
    if source is not None and output is None and not json_output:
        raise ConfigError(
            f"--input {source} needs a place for the results: --output FILE, or --json for stdout"
        )
    if overwrite and output is None:
        raise ConfigError("--overwrite needs --output FILE")


def _question_text(argument: str | None) -> str:
    if argument is not None and argument != "-":
        return check_question(argument)
    if argument is None and sys.stdin.isatty():
        raise InputError("no question: give one as an argument, on stdin, or with --input FILE")
    try:
        return check_question(sys.stdin.buffer.read().decode("utf-8"))
    except UnicodeDecodeError as error:
        raise InputError(
            f"the question on stdin is not UTF-8 text (byte {error.start + 1})"
        ) from None
