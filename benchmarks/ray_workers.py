"""Two workers on Ray against one, and what the process that shares out the work takes itself.

    python -m benchmarks.ray_workers --json

Workers with the embedded family, one thread each, solve the same problems by RSD: one worker, two,
and both again, after a few problems to warm up. `ratio` is that of problems a second, `driver` the
processor time of the process that asks, as a share of the time that passes. With
`cpu_ms_per_problem` of the workers it shows what another job on the machine has taken: two workers
on two idle cores take as much for a problem as one does.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import time
from pathlib import Path
from typing import Any

from rsdecode.config import RunConfig
from rsdecode.config.build import build_problem
from rsdecode.distributed.cluster import Cluster
from rsdecode.distributed.tasks import AnswerTask, Sample
from rsdecode.models.abacus import problems

WARM_UP = 16
TICK = os.sysconf("SC_CLK_TCK")


def worker_seconds() -> float:
    """Processor time of all workers that run."""
    total = 0.0
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdecimal() and (folder / "cmdline").read_bytes().startswith(
                b"ray::Worker"
            ):
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                total += (int(fields[11]) + int(fields[12])) / TICK
        except OSError:
            continue
    return total


async def measured(cluster: Cluster, workers: int, items: list[Sample]) -> dict[str, float]:
    """One crew: its models are loaded, and warm, before the clock starts."""
    config = RunConfig.model_validate({"ray": {"workers": workers}})
    task = AnswerTask.of(config)
    crew = cluster.crew(config, [task], print)
    try:
        await crew.run(task, items[: WARM_UP * workers], lambda _: None)
        wall, own, theirs = time.perf_counter(), time.process_time(), worker_seconds()
        await crew.run(task, items, lambda _: None)
        seconds = time.perf_counter() - wall
        return {
            "problems_per_s": len(items) / seconds,
            "driver": (time.process_time() - own) / seconds,
            "cpu_ms_per_problem": 1000 * (worker_seconds() - theirs) / len(items),
        }
    finally:
        await crew.close()


def compare(count: int, rounds: int) -> dict[str, Any]:
    """All figures."""
    config = RunConfig()
    some = problems("test", limit=count)
    items = [Sample(build_problem(config, p.question, id=p.id), 0) for p in some]
    found: dict[int, list[dict[str, float]]] = {1: [], 2: []}
    with Cluster("local", cpus=2) as cluster:
        for _ in range(rounds):
            for workers, runs in found.items():
                runs.append(asyncio.run(measured(cluster, workers, items)))
    ratios = [
        two["problems_per_s"] / one["problems_per_s"]
        for one, two in zip(found[1], found[2], strict=True)
    ]
    middle = {
        workers: {name: statistics.median(run[name] for run in runs) for name in runs[0]}
        for workers, runs in found.items()
    }
    return {
        "ratio": round(statistics.median(ratios), 2),
        "ratios": [round(ratio, 2) for ratio in ratios],
        "load": round(os.getloadavg()[0], 1),
        **{
            f"{name}_{workers}": round(value, 3)
            for workers, of in middle.items()
            for name, value in of.items()
        },
    }


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--problems", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    figures = compare(given.problems, given.rounds)
    if given.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:24} {value}")


if __name__ == "__main__":
    main()
