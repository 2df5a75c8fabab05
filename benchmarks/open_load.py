"""How long the first decided step takes while problems arrive at random, against an idle system.

    python -m benchmarks.open_load --json

The embedded family solves problems by RSD. First all at once, which gives the capacity in problems
a second; then one after the other (idle); then as a Poisson process at a share of the capacity.
Most problems need one drafted step, some two drafts and the target's words: the times of an idle
system have a tail of their own, so the tail under load is compared with the idle tail (and, beside
it, with the idle median).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import time
from collections.abc import Sequence

from rsdecode.config import RunConfig
from rsdecode.config.build import build_method, build_models
from rsdecode.core.protocols import Models
from rsdecode.core.types import Problem
from rsdecode.methods import Method
from rsdecode.models.abacus import problems
from rsdecode.session.events import Decided
from rsdecode.session.job import Job
from rsdecode.session.session import Session

WARM_UP = 30
"""Problems that are solved before anything is measured."""


def p99(times: Sequence[float]) -> float:
    """The 99th percentile: of 100 times the second longest."""
    return sorted(times)[min(len(times) - 1, int(0.99 * len(times)) - 1 if len(times) > 1 else 0)]


async def capacity(models: Models, method: Method, some: Sequence[Problem]) -> float:
    """Problems a second when all are there from the start."""
    started = time.perf_counter()
    async for _ in Session(models).run(Job(problem, method) for problem in some):
        pass
    return len(some) / (time.perf_counter() - started)


async def first_step(session: Session, method: Method, problem: Problem) -> float:
    """Seconds from submission to the first decided step; waits for the end of the problem."""
    started, first = time.perf_counter(), 0.0
    async for event in session.submit(problem, method, events="steps"):
        if isinstance(event, Decided) and not first:
            first = time.perf_counter() - started
    return first


async def idle(models: Models, method: Method, some: Sequence[Problem]) -> list[float]:
    """First-step times of problems that are alone."""
    session = Session(models)
    return [await first_step(session, method, problem) for problem in some]


async def under_load(
    models: Models, method: Method, some: Sequence[Problem], per_s: float, seed: int
) -> list[float]:
    """First-step times of problems that arrive at random, `per_s` a second on average."""
    draw, session = random.Random(seed), Session(models)
    started: list[asyncio.Task[float]] = []
    for problem in some:
        started.append(asyncio.create_task(first_step(session, method, problem)))
        await asyncio.sleep(draw.expovariate(per_s))
    return [await task for task in started]


def measure(count: int, share: float, seed: int) -> dict[str, float]:
    """All figures; times in milliseconds."""
    models, method = build_models(RunConfig()), build_method(RunConfig())
    some = [Problem.ask(p.question, id=p.id) for p in problems("test", limit=count)]

    async def run() -> dict[str, float]:
        await capacity(models, method, some[:WARM_UP])
        per_s = await capacity(models, method, some)
        alone = await idle(models, method, some)
        loaded = await under_load(models, method, some, share * per_s, seed)
        return {
            "capacity_problems_per_s": round(per_s, 2),
            "arrivals_per_s": round(share * per_s, 2),
            "idle_median_ms": round(1000 * statistics.median(alone), 1),
            "idle_p99_ms": round(1000 * p99(alone), 1),
            "loaded_median_ms": round(1000 * statistics.median(loaded), 1),
            "loaded_p99_ms": round(1000 * p99(loaded), 1),
            "p99_to_idle_p99": round(p99(loaded) / p99(alone), 2),
            "p99_to_idle_median": round(p99(loaded) / statistics.median(alone), 2),
        }

    try:
        return asyncio.run(run())
    finally:
        models.close()


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--problems", type=int, default=300)
    parser.add_argument("--share", type=float, default=0.7, help="of the capacity")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    figures = measure(given.problems, given.share, given.seed)
    if given.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:26} {value:g}")


if __name__ == "__main__":
    main()
