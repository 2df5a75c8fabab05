"""What `rsd plan` foretells against what a small deployment does.

    python -m benchmarks.plan --json [--wall]

The deployment is the in-process engine: draft, target and reward model of the embedded family take
turns on one device. For each configuration a run is measured as `rsd plan` does, a simulation of
that deployment foretells the throughput and the bottleneck with another number of problems in
flight, and then that is done for real. The problems are the same, the caches empty: what is
compared is the simulation, not the choice of problems. Both are in seconds of processor time;
`--wall` takes the clock's, on a quiet machine. The real bottleneck is the model that the device
worked for longest.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

from rsdecode.backends.transformers.worker import worker_for
from rsdecode.capacity.measuring import measure
from rsdecode.capacity.simulation import Replicas, simulate
from rsdecode.config import RunConfig
from rsdecode.config.build import build_method, build_models, build_problem
from rsdecode.core.protocols import Models
from rsdecode.core.types import Problem, Role
from rsdecode.models.abacus import problems
from rsdecode.session.job import Job
from rsdecode.session.session import Session

CONFIGS: dict[str, tuple[dict[str, Any], int]] = {
    "rsd@0.7, 8 in flight": ({}, 8),
    "rsd@0.97, 4 in flight": ({"weighting": {"threshold": 0.97}}, 4),
    "rsd, 4 candidates, 8 in flight": (
        {"candidates": 4, "sampling": {"draft": {"temperature": 0.7}}},
        8,
    ),
}
"""Settings, and problems in flight of the deployment; the measured run has 32."""
WARM_UP = 8
Clock = Callable[[], float]


def case(settings: dict[str, Any], at_once: int, count: int, clock: Clock) -> dict[str, Any]:
    """One configuration."""
    config = RunConfig.model_validate(settings)
    models, method = build_models(config), build_method(config)
    some = [
        build_problem(config, p.question, id=p.id) for p in problems("test", limit=WARM_UP + count)
    ]
    try:
        solve(config, models, some[:WARM_UP], clock)
        asked = some[WARM_UP:]
        models.clear()
        measured = measure(config, models, method, asked, clock=clock)
        models.clear()
        shared = {role: Replicas(1, 1 / len(measured.times)) for role in measured.times}
        foretold = simulate(measured, shared, problems=len(asked), concurrency=at_once)
        worked = _watch(models)
        per_s = len(asked) / solve(config, models, asked, clock, at_once)
    finally:
        models.close()
    return {
        "correction": measured.about["correction"],
        "foretold_problems_per_s": round(foretold.problems_per_s, 2),
        "measured_problems_per_s": round(per_s, 2),
        "ratio": round(foretold.problems_per_s / per_s, 3),
        "foretold_bottleneck": foretold.bottleneck.value,
        "measured_bottleneck": max(worked, key=lambda role: worked[role]).value,
        "foretold_work": _shares(foretold.work_s),
        "measured_work": _shares(worked),
    }


def solve(
    config: RunConfig, models: Models, some: list[Problem], clock: Clock, at_once: int = 32
) -> float:
    """Seconds for problems that are all there at the start."""
    method, session = build_method(config), Session(models, concurrency=at_once)

    async def run() -> None:
        async for trajectory in session.run(Job(problem, method) for problem in some):
            assert trajectory.error is None, trajectory.error

    started = clock()
    asyncio.run(run())
    return clock() - started


def _watch(models: Models) -> dict[Role, float]:
    """Counts the processor time of each model's engine from now on."""
    worked: dict[Role, float] = {}
    engines: list[Any] = worker_for("cpu")._engines  # pyright: ignore[reportPrivateUsage]
    assert models.draft is not models.target
    for role, engine in zip((Role.DRAFT, Role.TARGET, Role.REWARD), engines, strict=True):
        step = engine.step

        def timed(role: Role = role, step: Callable[[], None] = step) -> None:
            started = time.thread_time()
            step()
            worked[role] = worked.get(role, 0.0) + time.thread_time() - started

        engine.step = timed
    return worked


def _shares(work: dict[Role, float]) -> dict[str, float]:
    total = sum(work.values())
    return {role.value: round(seconds / total, 3) for role, seconds in sorted(work.items())}


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--problems", type=int, default=80)
    parser.add_argument("--wall", action="store_true", help="the clock's seconds")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    clock = time.perf_counter if given.wall else time.process_time
    figures: dict[str, Any] = {}
    for name, (settings, at_once) in CONFIGS.items():
        figures[name] = case(settings, at_once, given.problems, clock)
        if not given.json:
            print(name, *(f"  {key:26} {value}" for key, value in figures[name].items()), sep="\n")
    if given.json:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
