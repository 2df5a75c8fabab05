from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from benchmarks.lock_step import lock_step
from benchmarks.overhead import STEPS, run_once
from benchmarks.schedule import MEASURED, prefetch, simulated
from benchmarks.simulation import Costs, Measured, Server
from rsdecode.capacity.virtual_time import run_virtually
from rsdecode.core.types import Role
from rsdecode.methods import RSD
from rsdecode.session.session import Session
from tests.session.scripts import by_id, collect, jobs, models, problems

LINEAR = Costs(
    decode_s=((1, 1.0), (3, 2.0)), prefill_s=0.25, request_s=0.0, max_batch=2, block_tokens=16
)


def test_virtual_hours_take_no_time() -> None:
    async def sleep() -> float:
        await asyncio.gather(asyncio.sleep(3600.0), asyncio.sleep(7200.0))
        return asyncio.get_running_loop().time()

    assert run_virtually(sleep()) == pytest.approx(7200.0)


def test_a_simulation_in_which_nothing_happens_any_more_is_an_error() -> None:
    async def wait() -> None:
        await asyncio.Event().wait()

    with pytest.raises(RuntimeError, match="nothing is left to happen"):
        run_virtually(wait())


def test_costs_lie_on_straight_lines() -> None:
    assert [LINEAR.iteration_s(n, 0) for n in (0, 1, 2, 3, 5)] == [0.0, 1.0, 1.5, 2.0, 3.0]
    assert LINEAR.iteration_s(1, 4) == 2.0


def test_a_server_batches_up_to_its_limit_and_queues_the_rest() -> None:
    async def run() -> tuple[list[float], float]:
        server, clock = Server(LINEAR), asyncio.get_running_loop().time

        async def ask(read: int, write: int) -> float:
            await server.serve(read, write)
            return clock()

        return await asyncio.gather(ask(4, 1), ask(2, 2), ask(1, 1)), server.busy_s

    ended, busy = run_virtually(run())
    # Two read 6 and write 1 each: 1.5 + 1.5. Then the second writes, the third reads 1: 1.5 + .25
    assert ended == pytest.approx([3.0, 4.75, 4.75])
    assert busy == pytest.approx(4.75)


async def test_lock_step_gives_the_schedulers_trajectories() -> None:
    some = problems(12)
    ours = await collect(Session(models()).run(jobs(some, RSD(), seed=3)))
    theirs = await collect(lock_step(some, models(), RSD(), seed=3))
    assert by_id(theirs) == by_id(ours)


@pytest.mark.parametrize("name", ["smollm2", "abacus"])
def test_a_simulated_case_is_exact_and_ours_is_faster_on_every_server(name: str) -> None:
    measured = Measured.load(MEASURED.with_name(f"{name}.json"))
    case = simulated(measured, 8)
    assert case == simulated(measured, 8)
    assert case["ratio"] > 1.0
    for role, busy in case["theirs_utilisation"].items():
        assert busy < case["ours_utilisation"][role] <= 1.0


@pytest.mark.parametrize("name", ["smollm2", "abacus"])
def test_what_reading_ahead_could_win_is_the_targets_reading(name: str) -> None:
    measured = Measured.load(MEASURED.with_name(f"{name}.json"))
    found = prefetch(measured)
    assert all(1.0 < gain < 1.2 for gain in found.values()), found
    slow = replace(measured.servers[Role.TARGET], prefill_s=0.05)
    assert (
        prefetch(replace(measured, servers={**measured.servers, Role.TARGET: slow}))["at_most_1"]
        > 2
    )


def test_scheduling_needs_one_task_a_problem_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    made = 0
    create = asyncio.BaseEventLoop.create_task

    def counting(*args: object, **options: object) -> object:
        nonlocal made
        made += 1
        return create(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(asyncio.BaseEventLoop, "create_task", counting)
    _, steps = run_once(20)
    assert steps == 20 * STEPS
    assert made <= 20 + 5  # the run's own
