"""Results of scripted models in the form of `rsd eval`, for the tests of what reads them."""

from __future__ import annotations

import asyncio
import dataclasses
import random
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rsdecode.backends.scripted import ScriptedModel, ScriptedReward
from rsdecode.config import RunConfig, resolved
from rsdecode.core.cost import ModelShape
from rsdecode.core.protocols import Models
from rsdecode.core.requests import Generate, Score
from rsdecode.core.types import Problem, Role
from rsdecode.core.weighting import BinaryStep
from rsdecode.methods import RSD, Method, Single
from rsdecode.results.records import trajectory_to_record
from rsdecode.results.store import Meta, Store
from rsdecode.session.job import Job
from rsdecode.session.session import Session

DRAFT, TARGET, PRM = (
    ModelShape(1_000, layers=1, attention_width=8, hidden=8, vocabulary=50),
    ModelShape(9_000, layers=2, attention_width=16, hidden=16, vocabulary=50),
    ModelShape(2_000, layers=1, attention_width=8, hidden=8),
)


def models() -> Models:
    """A draft that errs in its middle step on every third problem, and a reward that notices.

    The target errs on every seventh. Problem n asks for 3 n; an answer has three steps.
    """

    def number(request: Generate | Score) -> int:
        return int(request.context.question.split()[2])

    def write(request: Generate, wrong: bool) -> str:
        n, done = number(request), len(request.context.answer)
        value = 3 * n + wrong
        steps = [f"Take {n} <b>three</b> times.\n\n", f"That makes {value}.\n\n"]
        before = "".join(segment.text for segment in request.context.answer)
        last = before.partition("makes ")[2].partition(".")[0] or str(value)
        return "".join([*steps, f"The answer is \\boxed{{{last}}}."][done:])

    def reward(request: Score) -> list[float]:
        n, draw = number(request), random.Random(str(request))
        wrong = f"makes {3 * n + 1}."
        return [
            round(draw.uniform(0.05, 0.65) if wrong in step.text else draw.uniform(0.55, 1.0), 3)
            for step in request.steps
        ]

    return Models(
        ScriptedModel(lambda r: write(r, number(r) % 3 == 0), shape=DRAFT),
        ScriptedModel(lambda r: write(r, number(r) % 7 == 0), shape=TARGET),
        ScriptedReward(reward, shape=PRM),
    )


def method_named(name: str) -> Method:
    """`draft`, `target`, `rsd`, `rsd@THRESHOLD`."""
    kind, _, threshold = name.partition("@")
    return RSD(BinaryStep(float(threshold or 0.7))) if kind == "rsd" else Single(Role(kind))


def problems(count: int) -> list[Problem]:
    return [
        Problem.ask(f"What is {i} times 3 & why </script><b>?", id=f"p{i}", answer=str(3 * i))
        for i in range(count)
    ]


def write_run(
    folder: Path,
    methods: Sequence[str] = ("draft", "target", "rsd"),
    *,
    data: str = "numbers",
    count: int = 20,
    asked: int | None = None,
    known_shapes: bool = True,
) -> Path:
    """Solve `count` problems with each method and store the answers; returns the folder."""
    config, used = RunConfig(), models()
    with Store(folder) as store:
        store.describe({"command": "rsd eval --data numbers", "methods": list(methods)})
        for name in methods:
            shapes = used.shapes() if known_shapes else dict.fromkeys(Role)
            meta = Meta(
                data=data,
                method=name,
                key=f"{zlib.crc32(name.encode()):016x}",
                config=resolved(config),
                shapes={
                    r.value: None if s is None else dataclasses.asdict(s) for r, s in shapes.items()
                },
                version="0.0.test",
                seed=0,
                problems=asked or count,
            )
            cell = store.cell(meta)
            try:
                cell.begin(meta.shapes)
                for record in asyncio.run(_solve(name, used, problems(count), shapes)):
                    cell.append(record)
            finally:
                cell.close()
    return folder


async def _solve(
    name: str, used: Models, asked: Sequence[Problem], shapes: Any
) -> list[dict[str, Any]]:
    method, session = method_named(name), Session(used, concurrency=4)
    records: list[dict[str, Any]] = []
    async for trajectory in session.run(Job(problem, method) for problem in asked):
        problem = trajectory.problem
        record = trajectory_to_record(trajectory, shapes=shapes, config_hash="0" * 16)
        extracted = record["answer"]
        grade = {
            "correct": extracted == problem.answer,
            "extracted": extracted,
            "reference": problem.answer,
            "rule": "exact",
        }
        records.append(
            {
                **record,
                "elapsed": record["seconds"],
                "question": problem.question,
                "reference": problem.answer,
                "grade": grade,
            }
        )
    return records
