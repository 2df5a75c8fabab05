"""Scripted models that the session's tests share."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import replace

from rsdecode.backends.scripted import ScriptedModel, ScriptedReward
from rsdecode.core.protocols import Models
from rsdecode.core.requests import Failed, Generate, Generated, Score
from rsdecode.core.types import Problem, Trajectory
from rsdecode.methods import Method
from rsdecode.session.job import Job


def problems(count: int) -> list[Problem]:
    return [Problem.ask(f"question {i}", id=str(i)) for i in range(count)]


def write(request: Generate) -> str:
    """Some words that depend on the request and, when sampled, on its seed; ends by chance."""
    seed = request.seed if request.sampling.temperature else 0
    key = (request.role.value, request.context.question, len(request.context.answer), seed)
    draw = random.Random(repr(key))
    words = " ".join(str(draw.randrange(100)) for _ in range(draw.randrange(1, 9)))
    return words if draw.random() < 0.15 else words + "\n\n"


def judge(request: Score) -> float:
    return random.Random(repr((request.context.question, request.steps[0].text))).random()


def models(
    draft: Callable[[Generate], str] = write, reward: Callable[[Score], float] = judge
) -> Models:
    return Models(ScriptedModel(draft), ScriptedModel(write), ScriptedReward(reward))


class Gated(ScriptedModel):
    """Holds the requests of some questions until their gate is opened."""

    def __init__(self, *held: str, writer: Callable[[Generate], str] = write) -> None:
        super().__init__(writer)
        self.gates = {question: asyncio.Event() for question in held}
        self.waiting: list[str] = []

    async def generate(self, requests: Sequence[Generate]) -> list[Generated | Failed]:
        for request in requests:
            if gate := self.gates.get(request.context.question):
                self.waiting.append(request.context.question)
                await gate.wait()
        return await super().generate(requests)


def jobs(
    some: Iterable[Problem], method: Method, *, seed: int = 0, deadline_s: float | None = None
) -> list[Job]:
    return [Job(problem, method, seed, deadline_s=deadline_s) for problem in some]


async def collect(run: AsyncGenerator[Trajectory]) -> list[Trajectory]:
    """All trajectories; the time limit only ends a run that would never end."""
    async with asyncio.timeout(60), aclosing(run):
        return [trajectory async for trajectory in run]


def by_id(trajectories: Iterable[Trajectory]) -> dict[tuple[str, int], Trajectory]:
    """By problem and sample, without the wall time."""
    return {(t.problem.id, t.sample): replace(t, seconds=0.0) for t in trajectories}


async def until(condition: Callable[[], bool]) -> None:
    """Let others run until `condition` holds."""
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("the condition never held")
