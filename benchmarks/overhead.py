"""What scheduling costs by itself: models that reply at once, many problems in flight."""

from __future__ import annotations

import asyncio
import gc
import time
import tracemalloc
from collections.abc import Sequence

from rsdecode.core.protocols import Models
from rsdecode.core.requests import Failed, Generate, Generated, Score, Scored
from rsdecode.core.types import FinishReason, Problem, Segment, Tokens, Usage
from rsdecode.methods import RSD
from rsdecode.session.job import Job
from rsdecode.session.session import Session

STEPS = 10
STEP_TEXT = (
    "The first box holds 12 * 8 = 96 pencils, so there are 96 + 24 = 120 of them in all.\n\n"
)
STEP_TOKENS = 40


class Instant:
    """All three models: a step of 40 tokens, every third one rejected, at no cost of its own.

    Each call lets all other problems run, as a real model would, so that all are in flight.

    Args:
        steps: of each answer.

    Attributes:
        begun: CPU time at which each step of an answer was first asked for.
    """

    def __init__(self, steps: int = STEPS) -> None:
        self._steps = steps
        self.begun: dict[int, float] = {}

    async def generate(self, requests: Sequence[Generate]) -> list[Generated | Failed]:
        await asyncio.sleep(0)
        for request in requests:
            self.begun.setdefault(len(request.context.answer), time.process_time())
        return [_written(request, self._steps) for request in requests]

    async def score(self, requests: Sequence[Score]) -> list[Scored | Failed]:
        await asyncio.sleep(0)
        usage = Usage(prefill_tokens=STEP_TOKENS, calls=1)
        return [Scored((float(len(r.context.answer) % 3 != 1),), usage) for r in requests]


def overhead(problems: int) -> dict[str, float]:
    """Milliseconds of CPU per step, the models' share included, and KB per problem in flight.

    The memory is the highest that is allocated at any moment, in a run of its own because tracing
    takes time: generators, tasks, texts and token ids of the steps so far.
    """
    seconds, steps = run_once(problems)
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    run_once(problems)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return {
        "ms_per_step": round(1000 * seconds / steps, 4),
        "kb_per_problem": round((peak - before) / problems / 1000, 2),
        "steps": steps,
    }


def run_once(count: int) -> tuple[float, int]:
    """CPU seconds and steps of a run in which all problems are in flight at once."""
    instant = Instant()
    models = Models(instant, instant, instant)
    jobs = [
        Job(Problem.ask(f"How many pencils are in {i} boxes?", id=str(i)), RSD())
        for i in range(count)
    ]

    async def run() -> int:
        session = Session(models, concurrency=count)
        return sum([len(trajectory.steps) async for trajectory in session.run(jobs)])

    started = time.process_time()
    steps = asyncio.run(run())
    return time.process_time() - started, steps


def step_seconds(steps: int) -> list[float]:
    """CPU seconds of each step but the last of a problem that is alone; every third is rejected."""
    instant = Instant(steps)
    job = Job(Problem.ask("How many pencils are there?", id="0"), RSD())

    async def run() -> None:
        async for _ in Session(Models(instant, instant, instant)).run([job]):
            pass

    asyncio.run(run())
    return [instant.begun[place + 1] - instant.begun[place] for place in range(steps - 1)]


def _written(request: Generate, steps: int) -> Generated:
    """A new text and new ids, as a real reply brings them."""
    place = len(request.context.answer)
    ids = tuple(range(1000 * place, 1000 * place + STEP_TOKENS))
    segment = Segment(f"{place} {STEP_TEXT}", Tokens("benchmark", ids))
    finish = FinishReason.STOP if place < steps - 1 else FinishReason.EOS
    return Generated(segment, finish, Usage(STEP_TOKENS, 100, STEP_TOKENS, 1))
