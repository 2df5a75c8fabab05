"""`rsd solve --input`: many questions, each result written as soon as it is there."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

from rsdecode.cli.language import tell_unreadable
from rsdecode.cli.messages import InterruptedRun, print_error, print_note, print_warning
from rsdecode.cli.progress import RunProgress, tell_damage
from rsdecode.cli.runtime import Runtime, loaded
from rsdecode.config import RunConfig, config_hash
from rsdecode.core.errors import ConfigError
from rsdecode.core.types import Trajectory
from rsdecode.evals.datasets import is_dataset, load_dataset
from rsdecode.evals.datasets.lines import BadLine, Question, read_questions
from rsdecode.results.line_writer import run_until_failure
from rsdecode.results.lines import Key
from rsdecode.results.output_file import OutputFile, RunKey, asked_text
from rsdecode.session.job import Job

Sink = Callable[[dict[str, Any], Trajectory], None]
"""Takes a result: its record, and the trajectory that it was made of."""


def solve_file(
    config: RunConfig,
    source: Path,
    output: Path | None,
    *,
    limit: int | None,
    overwrite: bool,
    to_stdout: bool,
) -> int:
    """Solve the questions of a file or data set, `limit` at most; returns the exit code.

    Raises:
        ConfigError: a file or the configuration is wrong.
        InterruptedRun: Ctrl-C; what is finished stays.
    """
    questions, bad = _questions(source, limit)
    if output is not None and output.exists() and source.exists() and output.samefile(source):
        raise ConfigError(f"--input and --output are both {source}: results need their own file")
    for line in bad:
        print_error(f"{source}, line {line.number}: {line.reason}")
    if not questions and not bad:
        print_warning(f"{source} holds no questions")
    sinks: list[Sink] = [_print_record] if to_stdout else []
    if output is None:
        failed = _solve(config, questions, set(), sinks, None)
    else:
        failed = _solve_into(config, questions, output, sinks, overwrite=overwrite)
    if bad:
        print_note(f"{len(bad)} of {len(questions) + len(bad)} lines hold no usable question")
    return 1 if failed or bad else 0


def _questions(source: Path, limit: int | None) -> tuple[list[Question], list[BadLine]]:
    if is_dataset(str(source)):
        problems = load_dataset(str(source), limit)
        return [Question(p.id, p.question, p.answer, p.messages[:-1]) for p in problems], []
    unused: dict[str, int] = {}
    questions, bad = read_questions(source, limit, unused)
    if unused:
        names = ", ".join(f"{key!r} (line {line})" for key, line in sorted(unused.items()))
        print_warning(f"{source}: keys that are not read, each with its first line: {names}")
    return questions, bad


def _solve_into(
    config: RunConfig,
    questions: Sequence[Question],
    output: Path,
    sinks: Sequence[Sink],
    *,
    overwrite: bool,
) -> int:
    """Solve what the output file does not hold yet; returns how many problems failed."""
    file = OutputFile(output, overwrite=overwrite)
    if file.warning is not None:
        print_warning(file.warning)
    try:
        tell_damage(file.found, str(output))
        run = RunKey(config_hash(config), config.run.seed)
        by_id = {question.id: question for question in questions}
        asked = {id: asked_text(q.text, q.conversation) for id, q in by_id.items()}
        done = file.done(run, asked)

        def append(record: dict[str, Any], trajectory: Trajectory) -> None:
            problem = trajectory.problem
            messages = by_id[problem.id].conversation
            said = {"messages": messages} if messages else {}
            question = {"question": problem.question, **said, "reference": problem.answer}
            file.append({**question, **record})

        return _solve(config, questions, done, [append, *sinks], file)
    finally:
        file.close()


def _solve(
    config: RunConfig,
    questions: Sequence[Question],
    done: set[Key],
    sinks: Sequence[Sink],
    file: OutputFile | None,
) -> int:
    wanted = [(q, sample) for q in questions for sample in range(config.run.samples)]
    earlier = sum((question.id, sample) in done for question, sample in wanted)
    progress = RunProgress(len(wanted), earlier)
    if earlier == len(wanted):
        if file is not None:
            file.begin()
        print_note(progress.summary())
        return 0
    tell_unreadable([config], (question.text for question in questions))
    with loaded(config) as runtime:
        if file is not None:
            file.begin()
        jobs = [job for q in questions for job in runtime.jobs(q)]
        left = [job for job in jobs if (job.problem.id, job.sample) not in done]
        failures = [] if file is None else [file.failure]
        try:
            with progress:
                work = _run(runtime, left, sinks, progress)
                asyncio.run(run_until_failure(work, failures))
        except KeyboardInterrupt:
            raise InterruptedRun(f"interrupted: {progress.summary()}{_go_on(file)}") from None
    print_note(progress.summary())
    return progress.errors


async def _run(
    runtime: Runtime, jobs: Sequence[Job], sinks: Sequence[Sink], progress: RunProgress
) -> None:
    async with aclosing(runtime.session().run(jobs)) as trajectories:
        async for trajectory in trajectories:
            record = runtime.record(trajectory)
            for sink in sinks:
                sink(record, trajectory)
            progress.add(trajectory)


def _print_record(record: dict[str, Any], _: Trajectory) -> None:
    print(json.dumps(record), flush=True)


def _go_on(file: OutputFile | None) -> str:
    return "" if file is None else "; the same command goes on from here"
