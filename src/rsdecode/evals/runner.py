"""Runs tasks: decodes, grades and hands over each answer as soon as it is there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import asdict, replace
from typing import Any

from rsdecode.core.protocols import Models
from rsdecode.core.thoughts import THOUGHTS, Thoughts
from rsdecode.core.types import FinishReason, Role, Trajectory
from rsdecode.evals.grading import AnswerKind, GradingPool, Verdict
from rsdecode.evals.plan import EvalTask
from rsdecode.methods import Method
from rsdecode.results.records import Shapes, trajectory_to_record
from rsdecode.session.job import Job
from rsdecode.session.session import Session

Keep = Callable[[dict[str, Any]], None]
"""Takes every answer: stores it, say."""
Watch = Callable[[Mapping[str, Any]], None]
"""Told of every answer when it is kept."""
GRADED_AT_ONCE = 64
"""Answers in grading before decoding waits for them."""


async def run_eval_task(
    task: EvalTask,
    jobs: Sequence[Job],
    models: Models,
    keep: Keep,
    *,
    pool: GradingPool,
    watch: Watch,
) -> None:
    """Decode, grade and keep; what earlier tasks left in the models' caches is not used.

    Args:
        task: what the jobs belong to.
        jobs: what is left of it.
        models: what its method needs.
        keep: where the answers go.
        pool: what grades.
        watch: told of every answer.
    """
    models.clear()
    marks = task.config.answer.marks
    session = Session(models, concurrency=task.config.run.concurrency, thoughts=marks)
    room = asyncio.Semaphore(GRADED_AT_ONCE)
    shapes, config_hash = models.shapes(), task.config_hash
    written = time.perf_counter()

    async def finish(trajectory: Trajectory) -> None:
        nonlocal written
        try:
            verdict = await judge(trajectory, pool, task.kind, marks)
        finally:
            room.release()
        now = time.perf_counter()
        record = answer_record(
            trajectory, verdict, shapes=shapes, config_hash=config_hash, thoughts=marks
        )
        record["elapsed"] = now - written
        written = now
        keep(record)
        watch(record)

    try:
        async with asyncio.TaskGroup() as grading, aclosing(session.run(jobs)) as trajectories:
            async for trajectory in trajectories:
                await room.acquire()
                grading.create_task(finish(trajectory))
    except ExceptionGroup as group:
        raise group.exceptions[0] from None


def answer_record(
    trajectory: Trajectory,
    verdict: Verdict,
    *,
    shapes: Shapes,
    config_hash: str,
    thoughts: Thoughts,
) -> dict[str, Any]:
    """A graded answer as it is kept.

    Args:
        trajectory: the answer.
        verdict: whether it is right.
        shapes: of the models.
        config_hash: of the configuration, with the method that wrote it.
        thoughts: the marks of the model's thoughts.
    """
    return {
        "question": trajectory.problem.question,
        "reference": trajectory.problem.answer,
        **trajectory_to_record(
            trajectory, shapes=shapes, config_hash=config_hash, thoughts=thoughts
        ),
        "grade": asdict(verdict),
    }


def shapes_of(method: Method, models: Models) -> dict[str, dict[str, Any] | None]:
    """The shapes of the models that a method needs, as results keep them."""
    needed = {role: shape for role, shape in models.shapes().items() if role in method.roles}
    return {role.value: asdict(shape) if (shape := needed.get(role)) else None for role in Role}


async def judge(
    trajectory: Trajectory, pool: GradingPool, kind: AnswerKind, thoughts: Thoughts = THOUGHTS
) -> Verdict:
    """Whether an answer is right. One that did not end by itself never is."""
    reference = trajectory.problem.answer or ""
    if trajectory.finished:
        thoughts = replace(thoughts, opened=trajectory.thoughts.opened)
        return await pool.grade(trajectory.text, reference, kind, thoughts)
    failed = trajectory.stop_reason in (FinishReason.ERROR, FinishReason.CANCELLED)
    return Verdict(False, None, reference, "failed" if failed else "truncated")
