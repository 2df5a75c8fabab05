"""Golden trajectories: RSD on the first problems of the embedded family's test set.

    python -m tests.golden.record

writes them anew. Do so only when a change is meant to change them, and read the difference.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rsdecode.config import RunConfig
from rsdecode.config.build import build_method, build_models
from rsdecode.core.types import Problem, Trajectory
from rsdecode.models.abacus import problems
from rsdecode.session.job import Job
from rsdecode.session.session import Session

FILE = Path(__file__).with_name("abacus.jsonl")
COUNT = 20


def trajectories() -> list[Trajectory]:
    """RSD with the default configuration."""
    config = RunConfig()
    questions = [
        Problem.ask(p.question, id=p.id, answer=p.answer) for p in problems("test", limit=COUNT)
    ]
    return solve(config, questions)


def solve(config: RunConfig, questions: Sequence[Problem]) -> list[Trajectory]:
    """Decode all questions at once; trajectories in their order."""
    models = build_models(config)

    async def run() -> dict[str, Trajectory]:
        method = build_method(config)
        ended = Session(models).run(Job(question, method) for question in questions)
        return {trajectory.problem.id: trajectory async for trajectory in ended}

    try:
        solved = asyncio.run(run())
    finally:
        models.close()
    return [solved[question.id] for question in questions]


def golden(trajectory: Trajectory) -> dict[str, Any]:
    """What is compared: everything that was decided, and the rewards that decided it."""
    return {
        "id": trajectory.problem.id,
        "stop_reason": trajectory.stop_reason.value,
        "steps": [
            {
                "text": step.text,
                "source": step.source.value,
                "reward": None if step.reward is None else round(step.reward, 4),
                "rejected": [draft.text for draft in step.rejected],
            }
            for step in trajectory.steps
        ],
    }


def main() -> None:
    """Write the file."""
    lines = [json.dumps(golden(trajectory)) for trajectory in trajectories()]
    FILE.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
