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
from rsdecode.cli.runtime import Runtime, loaded, problem_of, tell_warnings
from rsdecode.config import RunConfig, config_hash
from rsdecode.core.counted import counted
from rsdecode.core.errors import ConfigError
from rsdecode.evals.datasets import is_dataset, load_dataset
from rsdecode.evals.datasets.lines import BadLine, Question, read_questions
from rsdecode.results.line_writer import run_until_failure
from rsdecode.results.lines import Key
from rsdecode.results.output_file import OutputFile, RunKey, asked_text

Sink = Callable[[dict[str, Any]], None]
"""Takes the record of a result."""
Asked = tuple[Question, int]
"""A question and one of its samples."""


def solve_file(
    config: RunConfig,
    source: Path,
    output: Path | None,
    *,
    limit: int | None,
    overwrite: bool,
    to_stdout: bool,
    ray: str | None = None,
) -> int:
    """Solve the questions of a file or data set, `limit` at most; returns the exit code.

    With `ray` the workers of the cluster at that address do.

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
        failed = _solve(config, questions, set(), sinks, file=None, ray=ray)
    else:
        failed = _solve_into(config, questions, output, sinks, ray, overwrite=overwrite)
    if bad:
        lines = counted(len(questions) + len(bad), "line")
        print_note(f"without a usable question: {len(bad)} of {lines}")
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
    ray: str | None,
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

        def append(record: dict[str, Any]) -> None:
            asked = by_id[record["id"]]
            said = {"messages": asked.conversation} if asked.before else {}
            question = {"question": asked.text, **said, "reference": asked.answer}
            file.append({**question, **record})

        return _solve(config, questions, done, [append, *sinks], file=file, ray=ray)
    finally:
        file.close()


def _solve(
    config: RunConfig,
    questions: Sequence[Question],
    done: set[Key],
    sinks: Sequence[Sink],
    *,
    file: OutputFile | None,
    ray: str | None,
) -> int:
    samples = range(config.run.samples)
    wanted = [(question, sample) for question in questions for sample in samples]
    left = [(question, sample) for question, sample in wanted if (question.id, sample) not in done]
    progress = RunProgress(len(wanted), len(wanted) - len(left))
    if not left:
        if file is not None:
            file.begin()
        print_note(progress.summary())
        return 0

    def take(record: dict[str, Any]) -> None:
        for sink in sinks:
            sink(record)
        progress.add(record)

    try:
        if ray is None:
            _solve_here(config, left, take, progress=progress, file=file)
        else:
            _solve_there(ray, config, left, take, progress=progress, file=file)
    except KeyboardInterrupt:
        raise InterruptedRun(f"interrupted: {progress.summary()}{_go_on(file)}") from None
    print_note(progress.summary())
    return progress.errors


def _solve_here(
    config: RunConfig,
    left: Sequence[Asked],
    take: Sink,
    *,
    progress: RunProgress,
    file: OutputFile | None,
) -> None:
    """On models of this process."""
    with loaded(config) as runtime:
        tell_unreadable([config], (question.text for question, _ in left))
        if file is not None:
            file.begin()
        failures = [] if file is None else [file.failure]
        with progress:
            asyncio.run(run_until_failure(_run(runtime, left, take), failures))


def _solve_there(
    address: str,
    config: RunConfig,
    left: Sequence[Asked],
    take: Sink,
    *,
    progress: RunProgress,
    file: OutputFile | None,
) -> None:
    """On the workers of a Ray cluster."""
    from rsdecode.cli.on_ray import solve_on_ray
    from rsdecode.distributed.cluster import Cluster

    tell_warnings(config)
    tell_unreadable([config], (question.text for question, _ in left))
    asked = [(problem_of(config, question), sample) for question, sample in left]
    notes: list[str] = []
    try:
        with Cluster(address) as cluster, progress:
            asyncio.run(solve_on_ray(cluster, config, asked, take, file=file, notes=notes))
    finally:
        for note in notes:
            print_warning(note)


async def _run(runtime: Runtime, left: Sequence[Asked], take: Sink) -> None:
    jobs = (runtime.job(question, sample) for question, sample in left)
    async with aclosing(runtime.session().run(jobs)) as trajectories:
        async for trajectory in trajectories:
            take(runtime.record(trajectory))


def _print_record(record: dict[str, Any]) -> None:
    print(json.dumps(record), flush=True)


def _go_on(file: OutputFile | None) -> str:
    return "" if file is None else "; the same command goes on from here"
