"""Our scheduler against a lock-step policy over the same servers, and what scheduling costs.

    python -m benchmarks.schedule [--case NAME] [--json]
    python -m benchmarks.schedule --case vllm --draft URL --target URL --reward URL
    python -m benchmarks.schedule --overhead
    python -m benchmarks.schedule --measure --draft URL --target URL --reward URL > FILE.json

simulated-64   64 problems over three simulated servers in virtual time
simulated-512  512 problems
vllm           64 problems of the embedded family over three real servers
overhead-2000  2,000 problems in flight over models that reply at once: CPU time and memory

All problems are there at the start, and both policies may have all of them in flight. They ask the
same requests of the same servers, which batch continuously; they differ in when they ask. What the
simulated servers take for their work, and the lengths and rejections of the answers, were measured
on real servers: `schedule_measured.json` says when, on what and with which command.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.lock_step import lock_step
from benchmarks.report import show
from benchmarks.simulation import Measured, Simulation
from benchmarks.virtual_time import run_virtually
from rsdecode.core.protocols import Models
from rsdecode.core.types import Problem, Role, Trajectory
from rsdecode.methods import RSD, Method
from rsdecode.scheduler.scheduler import Job, Scheduler

MEASURED = Path(__file__).with_name("schedule_measured.json")
SIMULATED = {"simulated-64": 64, "simulated-512": 512}
VLLM_PROBLEMS = 64
Policy = Callable[[list[Problem], Models, Method], AsyncGenerator[Trajectory]]


def main() -> None:
    """Run the cases that were asked for and print them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", choices=[*SIMULATED, "vllm", "overhead-2000"], help="this one")
    parser.add_argument("--overhead", action="store_true", help="the same as --case overhead-2000")
    parser.add_argument("--measure", action="store_true", help="print a new measured file")
    parser.add_argument("--measured", type=Path, default=MEASURED, help="of the simulated servers")
    for role in Role:
        parser.add_argument(f"--{role}", help="spec of a real server, http://HOST:PORT/v1#NAME")
    parser.add_argument("--rounds", type=int, default=3, help="of the case vllm")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    specs = {role: getattr(options, role.value) for role in Role if getattr(options, role.value)}
    if (options.measure or options.case == "vllm") and len(specs) < len(Role):
        parser.error("real servers are needed: give --draft, --target and --reward")

    if options.measure:
        from benchmarks.measure import measure

        print(json.dumps(measure(specs), indent=1))
        return
    case = "overhead-2000" if options.overhead else options.case
    cases: list[dict[str, Any]] = [
        {"name": name, **simulated(Measured.load(options.measured), count)}
        for name, count in SIMULATED.items()
        if case in (None, name)
    ]
    if case == "vllm" or (case is None and specs):
        cases.append({"name": "vllm", **real(specs, options.rounds)})
    if case in (None, "overhead-2000"):
        from benchmarks.overhead import overhead

        cases.append({"name": "overhead-2000", **overhead(2000)})
    show(cases, as_json=options.json)


class Outcome(NamedTuple):
    """What one policy took. Seconds are virtual where the servers are simulated."""

    seconds: float
    latencies_s: list[float]
    answers: dict[str, tuple[str, ...]]
    utilisation: dict[str, float]

    @property
    def problems_per_s(self) -> float:
        """Throughput."""
        return len(self.latencies_s) / self.seconds

    def figures(self, who: str) -> dict[str, Any]:
        """For the report."""
        figures: dict[str, Any] = {
            who: _rounded(self.problems_per_s),
            f"{who}_mean_s": _rounded(statistics.mean(self.latencies_s)),
            f"{who}_p95_s": _rounded(statistics.quantiles(self.latencies_s, n=20)[-1]),
        }
        if self.utilisation:
            figures[f"{who}_utilisation"] = self.utilisation
        return figures


def simulated(measured: Measured, count: int) -> dict[str, Any]:
    """Both policies on fresh simulated servers, and ours with lookahead."""
    problems = measured.problems(count)

    def outcome(policy: Policy, method: Method) -> Outcome:
        async def run() -> Outcome:
            simulation = Simulation(measured)
            return await _timed(policy, problems, simulation.models, method, simulation)

        return run_virtually(run())

    ours, theirs = outcome(_ours, RSD()), outcome(_theirs, RSD())
    ahead = outcome(_ours, RSD(lookahead=1))
    assert ours.answers == theirs.answers == ahead.answers, "a policy changes no answer"
    return {
        "ratio": _rounded(ours.problems_per_s / theirs.problems_per_s),
        "ratio_lookahead": _rounded(ahead.problems_per_s / theirs.problems_per_s),
        **ours.figures("ours"),
        **theirs.figures("theirs"),
        **ahead.figures("lookahead"),
    }


def real(specs: dict[Role, str], rounds: int) -> dict[str, Any]:
    """Both policies in turn on real servers, whose prefix caches a first run has filled."""
    from benchmarks.measure import family_problems, models_of

    problems = family_problems(VLLM_PROBLEMS)
    models = models_of(specs)

    async def run() -> list[tuple[Outcome, Outcome]]:
        await _timed(_ours, problems, models, RSD())
        return [
            (
                await _timed(_ours, problems, models, RSD()),
                await _timed(_theirs, problems, models, RSD()),
            )
            for _ in range(rounds)
        ]

    pairs = asyncio.run(run())
    models.close()
    ratios = [ours.problems_per_s / theirs.problems_per_s for ours, theirs in pairs]
    same = [
        ours.answers[key] == theirs.answers[key] for ours, theirs in pairs for key in ours.answers
    ]
    middle = ratios.index(statistics.median_low(ratios))
    return {
        "ratio": _rounded(statistics.median(ratios)),
        "ratio_min": _rounded(min(ratios)),
        "ratio_max": _rounded(max(ratios)),
        "same_answers": _rounded(statistics.mean(same)),
        **pairs[middle][0].figures("ours"),
        **pairs[middle][1].figures("theirs"),
    }


def _ours(problems: list[Problem], models: Models, method: Method) -> AsyncGenerator[Trajectory]:
    return Scheduler(models, method, concurrency=len(problems)).run(map(Job, problems))


def _theirs(problems: list[Problem], models: Models, method: Method) -> AsyncGenerator[Trajectory]:
    return lock_step(problems, models, method)


async def _timed(
    policy: Policy,
    problems: list[Problem],
    models: Models,
    method: Method,
    simulation: Simulation | None = None,
) -> Outcome:
    """Run a policy; times are the event loop's, measured from the start of the run."""
    clock = asyncio.get_running_loop().time
    started = clock()
    latencies: list[float] = []
    answers: dict[str, tuple[str, ...]] = {}
    async for trajectory in policy(problems, models, method):
        latencies.append(clock() - started)
        assert trajectory.error is None, trajectory.error
        answers[trajectory.problem.id] = tuple(step.text for step in trajectory.steps)
    seconds = clock() - started
    servers = simulation.servers if simulation is not None else {}
    utilisation = {role.value: _rounded(s.busy_s / seconds) for role, s in servers.items()}
    return Outcome(seconds, latencies, answers, utilisation)


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")


if __name__ == "__main__":
    main()
