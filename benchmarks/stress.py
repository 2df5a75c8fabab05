"""Twenty thousand jobs at once on one engine: all answers as alone, nothing lost or left busy.

    python -m benchmarks.stress --json

Three threads, each with an event loop and a session of its own, submit all jobs at once to the
embedded draft with 32 slots. Some jobs are cancelled at random moments, and some are poisoned: the
engine fails while it serves them. Then the process must be idle. Three rounds, to see the memory.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import resource
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks.report import show
from rsdecode.backends.transformers.load import LoadOptions
from rsdecode.backends.transformers.model import LocalModel, load_model
from rsdecode.core.errors import RsdError
from rsdecode.core.limits import Limits
from rsdecode.core.protocols import Models
from rsdecode.core.requests import Decoding, Generate, generate, tell
from rsdecode.core.segment import WHOLE_ANSWER, Boundary
from rsdecode.core.types import Problem, Role, Step
from rsdecode.methods.trajectory import TrajectoryBuilder
from rsdecode.models.abacus import model_path, problems
from rsdecode.session.handle import Handle
from rsdecode.session.session import Session

THREADS = 3
SLOTS = 32
TOKENS = 8
"""Tokens of a job: short, as what is tested is the hand-over and not the model."""


class Poison(Boundary):
    """A boundary that fails at the first token."""

    def reader(self) -> Poison:
        return self

    def add(self, text: str) -> int | None:
        """Fail."""
        raise KeyError(f"poison {text!r}")


@dataclass(frozen=True)
class OneStep:
    """The target writes `TOKENS` tokens, and no more."""

    boundary: Boundary = WHOLE_ANSWER
    roles = frozenset({Role.TARGET})

    def __call__(self, problem: Problem, *, seed: int = 0, sample: int = 0) -> Decoding:
        trajectory = TrajectoryBuilder(problem, Limits(), seed, sample)
        session, context = trajectory.session, trajectory.context
        request = Generate(Role.TARGET, context, TOKENS, self.boundary, session=session)
        try:
            [written] = yield from generate([request])
        except RsdError as error:
            return trajectory.fail(error)
        step = Step(written.segment, Role.TARGET, written.finish_reason)
        trajectory.steps.append(step)
        yield from tell(step)
        return trajectory.end(written.finish_reason)


GOOD, BAD = OneStep(), OneStep(Poison(("\n\n",)))


async def round_of(
    model: LocalModel, some: list[Problem], alone: Mapping[str, str], counts: Counts, seed: int
) -> None:
    """Submit one thread's jobs, all at once, and count what becomes of them."""
    draw = random.Random(seed)
    session = Session(Models(target=model), concurrency=counts.jobs)
    poisoned = set(draw.sample(range(counts.jobs), counts.poisoned))
    good = [i for i in range(counts.jobs) if i not in poisoned]
    cancelled = set(draw.sample(good, counts.cancelled))
    handles: list[Handle] = []
    for i in range(counts.jobs):
        given = some[i % len(some)]
        problem = Problem(f"{seed}/{i}", given.messages)
        method = BAD if i in poisoned else GOOD
        handles.append(session.submit(problem, method, events="none"))
    loop = asyncio.get_running_loop()
    for i in cancelled:
        loop.call_later(draw.random() * counts.window_s, handles[i].cancel)
    for i, handle in enumerate(handles):
        trajectory = await handle.result()
        reason = trajectory.stop_reason.value
        if i in poisoned:
            counts.add("poisoned" if reason == "error" else "wrong")
        elif reason == "cancelled":
            counts.add("cancelled" if i in cancelled else "wrong")
        else:
            same = trajectory.text == alone[some[i % len(some)].id]
            counts.add("as alone" if same else "wrong")


class Counts:
    """How many jobs each thread has, and what became of all."""

    def __init__(self, jobs: int, cancelled: int, poisoned: int, window_s: float) -> None:
        self.jobs, self.cancelled, self.poisoned = jobs, cancelled, poisoned
        self.window_s = window_s
        self.found: dict[str, int] = {}
        self._lock = threading.Lock()

    def add(self, what: str) -> None:
        """Count a job."""
        with self._lock:
            self.found[what] = self.found.get(what, 0) + 1


def stress(jobs: int, cancelled: int, poisoned: int, rounds: int) -> list[dict[str, Any]]:
    """The figures of each round."""
    options = LoadOptions(slots=SLOTS, device="cpu")
    model = load_model(str(model_path("draft")), options)
    some = [Problem.ask(p.question, id=p.id) for p in problems("test", limit=60)]
    alone = asyncio.run(_alone(model, some))
    figures: list[dict[str, Any]] = []
    for number in range(rounds):
        counts = Counts(jobs // THREADS, cancelled // THREADS, poisoned // THREADS, jobs / 400)
        started = time.perf_counter()
        threads = [
            threading.Thread(target=_run, args=(model, some, alone, counts, 10 * number + i))
            for i in range(THREADS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.perf_counter() - started
        figures.append(
            {
                "name": f"round {number + 1}",
                **counts.found,
                "seconds": round(seconds, 1),
                "idle_cpu_percent": round(_idle_cpu(), 2),
                "left_to_do": model.load,  # cancelled jobs are let go of meanwhile
                "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            }
        )
    model.close()
    return figures


def _run(
    model: LocalModel, some: list[Problem], alone: Mapping[str, str], counts: Counts, seed: int
) -> None:
    asyncio.run(round_of(model, some, alone, counts, seed))


async def _alone(model: LocalModel, some: list[Problem]) -> dict[str, str]:
    """The text of each problem, one after the other."""
    session = Session(Models(target=model), concurrency=1)
    return {p.id: (await session.submit(p, GOOD).result()).text for p in some}


def _idle_cpu(seconds: float = 3.0) -> float:
    """Percent of a core that the process uses while there is nothing to do."""
    before = time.process_time()
    time.sleep(seconds)
    return 100 * (time.process_time() - before) / seconds


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", type=int, default=20_000)
    parser.add_argument("--cancelled", type=int, default=201)
    parser.add_argument("--poisoned", type=int, default=51)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    show(stress(given.jobs, given.cancelled, given.poisoned, given.rounds), as_json=given.json)


if __name__ == "__main__":
    main()
