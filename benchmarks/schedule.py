"""Our session against a lock-step policy over the same servers, and what scheduling costs.

    python -m benchmarks.schedule [--case NAME] [--measured FILE.json] [--json]
    python -m benchmarks.schedule --case vllm [--model FOLDER]
    python -m benchmarks.schedule --overhead
    python -m benchmarks.schedule --measure [--model FOLDER] > FILE.json

simulated-64   64 problems over three simulated servers in virtual time
simulated-512  512 problems
prefetch       what it could win at most that the target reads accepted steps ahead of its turn
vllm           64 problems over three real servers, started here if no addresses are given: of the
               embedded family, or of one language model (--model FOLDER) and the family's PRM
overhead-2000  2,000 problems in flight over models that reply at once: CPU time and memory

All problems are there at the start, and both policies may have all of them in flight. They ask the
same requests of the same servers, which batch continuously; they differ in when they ask. What the
simulated servers take for their work, and the lengths and rejections of the answers, were measured
on real servers: the files in `measured/` say when, on what and with which command. Those of
SmolLM2 are the default; `measured/abacus.json` has those of the embedded family.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.lock_step import lock_step
from benchmarks.report import show
from benchmarks.servers import Service, family, one_writer, problems
from benchmarks.simulation import Measured, Simulation
from rsdecode.capacity.virtual_time import run_virtually
from rsdecode.core.protocols import Models
from rsdecode.core.types import Problem, Role, Trajectory
from rsdecode.methods import RSD, Method
from rsdecode.session.job import Job
from rsdecode.session.session import Session

MEASURED = Path(__file__).parent / "measured" / "smollm2.json"
SIMULATED = {"simulated-64": 64, "simulated-512": 512}
VLLM_PROBLEMS = 64
Policy = Callable[[list[Problem], Models, Method], AsyncGenerator[Trajectory]]


def main() -> None:
    """Run the cases that were asked for and print them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--case", choices=[*SIMULATED, "prefetch", "vllm", "overhead-2000"], help="this one"
    )
    parser.add_argument("--overhead", action="store_true", help="the same as --case overhead-2000")
    parser.add_argument("--measure", action="store_true", help="print a new measured file")
    parser.add_argument("--measured", type=Path, default=MEASURED, help="of the simulated servers")
    for role in Role:
        parser.add_argument(f"--{role}", help="spec of a real server, http://HOST:PORT/v1#NAME")
    parser.add_argument("--model", help="folder of a draft and target in place of the family's")
    parser.add_argument("--rounds", type=int, default=3, help="of the case vllm")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    given = {role: getattr(options, role.value) for role in Role if getattr(options, role.value)}
    if 0 < len(given) < len(Role):
        parser.error("give all of --draft, --target and --reward, or none")
    service = one_writer(options.model) if options.model else family()

    if options.measure:
        from benchmarks.measure import as_text, measure

        with _addresses(service, given) as addresses:
            print(as_text(measure(service, addresses)))
        return
    case = "overhead-2000" if options.overhead else options.case
    cases: list[dict[str, Any]] = [
        {"name": name, **simulated(Measured.load(options.measured), count)}
        for name, count in SIMULATED.items()
        if case in (None, name)
    ]
    if case in (None, "prefetch"):
        cases.append({"name": "prefetch", **prefetch(Measured.load(options.measured))})
    if case == "vllm" or (case is None and given):
        with _addresses(service, given) as addresses:
            cases.append({"name": "vllm", **real(service, addresses, options.rounds)})
    if case in (None, "overhead-2000"):
        from benchmarks.overhead import overhead

        cases.append({"name": "overhead-2000", **overhead(2000)})
    show(cases, as_json=options.json)


def _addresses(service: Service, given: dict[Role, str]) -> AbstractContextManager[dict[Role, str]]:
    """The servers that were named, or our own."""
    return nullcontext(given) if given else service.started()


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
    asked = measured.problems(count)

    def outcome(policy: Policy, method: Method) -> Outcome:
        async def run() -> Outcome:
            simulation = Simulation(measured)
            return await _timed(policy, asked, simulation.models, method, simulation)

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


def prefetch(measured: Measured) -> dict[str, Any]:
    """A target that finds all read, at no cost, against one that reads questions and steps.

    Throughput of the first over the second, one problem at a time and 64 at a time: the most that
    could be won if the target read what was accepted while the draft writes on.
    """
    asked = measured.problems(64)

    def outcome(at_a_time: int, *, reads_ahead: bool) -> Outcome:
        async def run() -> Outcome:
            simulation = Simulation(measured, reads_ahead)
            policy = partial(_ours, at_a_time=at_a_time)
            return await _timed(policy, asked, simulation.models, RSD(), simulation)

        return run_virtually(run())

    found: dict[str, Any] = {}
    for count in (1, 64):
        plain, ahead = outcome(count, reads_ahead=False), outcome(count, reads_ahead=True)
        assert plain.answers == ahead.answers, "reading ahead changes no answer"
        found[f"at_most_{count}"] = _rounded(ahead.problems_per_s / plain.problems_per_s)
    return found


def real(service: Service, addresses: dict[Role, str], rounds: int) -> dict[str, Any]:
    """Both policies in turn on real servers, whose prefix caches a first run has filled."""
    asked, models, method = problems(VLLM_PROBLEMS), service.models(addresses), service.method

    async def run() -> list[tuple[Outcome, Outcome]]:
        await _timed(_ours, asked, models, method)
        return [
            (
                await _timed(_ours, asked, models, method),
                await _timed(_theirs, asked, models, method),
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


def _ours(
    problems: list[Problem], models: Models, method: Method, at_a_time: int | None = None
) -> AsyncGenerator[Trajectory]:
    session = Session(models, concurrency=at_a_time or len(problems))
    return session.run(Job(problem, method) for problem in problems)


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
