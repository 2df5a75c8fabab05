"""A deployment in virtual time: replicas on devices, and problems that go through them.

A replica is an engine with continuous batching. Engines that share a device take turns, the one
with most to do first, as the in-process engine's do; a device of its own is the case of one engine.
All requests of a problem go to the same replica of each model, where its cache is.
"""

from __future__ import annotations

import asyncio
import random
import statistics
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rsdecode.capacity.service_times import Measured, ServiceTimes
from rsdecode.capacity.traces import Trace, Work
from rsdecode.capacity.virtual_time import run_virtually
from rsdecode.core.types import Role

PASS_TOKENS = 2048
"""Tokens of a pass over prompts at most."""
PATIENCE = 4
"""Passes of others on the device that an engine waits for at most, as the in-process engine's."""


@dataclass(frozen=True, slots=True)
class Replicas:
    """The replicas of one model.

    Attributes:
        count: how many.
        device: share of a device that each takes; below 1 several engines share one.
    """

    count: int
    device: float = 1.0


Deployment = Mapping[Role, Replicas]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a simulated deployment did.

    Attributes:
        problems_per_s: solved.
        latencies_s: of the problems, from their arrival to their end, in ascending order.
        busy: share of the time in which each role's replicas worked, on average.
        load: of each role, the share of the time in which its busiest device worked for anybody.
        work_s: seconds of work for each role, by all its replicas together.
        in_flight: problems at the same time, at most.
    """

    problems_per_s: float
    latencies_s: tuple[float, ...]
    busy: dict[Role, float]
    load: dict[Role, float]
    work_s: dict[Role, float]
    in_flight: int

    def latency_s(self, share: float = 0.95) -> float:
        """Seconds within which a share of the problems is solved."""
        return self.latencies_s[min(len(self.latencies_s) - 1, int(share * len(self.latencies_s)))]

    @property
    def mean_s(self) -> float:
        """Mean latency."""
        return statistics.fmean(self.latencies_s)

    @property
    def bottleneck(self) -> Role:
        """The role on the busiest device; of those that share it, the one that works most."""
        return max(self.busy, key=lambda role: (round(self.load[role], 2), self.work_s[role]))


@dataclass(eq=False, slots=True)
class _Job:
    read: int
    write: int
    done: asyncio.Future[None]


class _Engine:
    """A replica."""

    def __init__(self, role: Role, times: ServiceTimes, device: _Device) -> None:
        self.role = role
        self.busy_s = 0.0
        self.passed_over = 0
        self.device = device
        self._times = times
        self._waiting: deque[_Job] = deque()
        self._reading: list[_Job] = []
        self._writing: list[_Job] = []
        device.engines.append(self)

    @property
    def load(self) -> int:
        """Requests that could be advanced now."""
        return len(self._reading) + len(self._writing) + len(self._waiting)

    async def serve(self, work: Work) -> None:
        """Back when a request is done; a single token of prompt is read with the first one."""
        read = work.read if work.read > 1 or not work.write else 0
        job = _Job(read, work.write, asyncio.get_running_loop().create_future())
        self._waiting.append(job)
        self.device.wake()
        await job.done

    def step(self) -> tuple[float, list[_Job]]:
        """One pass: its seconds, and the jobs that are done then."""
        while self._waiting and len(self._reading) + len(self._writing) < self._times.max_batch:
            job = self._waiting.popleft()
            (self._reading if job.read else self._writing).append(job)
        seconds, done = self._read() if self._reading else self._write()
        self.busy_s += seconds
        return seconds, done

    def _read(self) -> tuple[float, list[_Job]]:
        left, prompts, done = PASS_TOKENS, 0, list[_Job]()
        for job in list(self._reading):
            part = min(job.read, left)
            job.read -= part
            left -= part
            prompts += 1
            if job.read:
                break
            self._reading.remove(job)
            job.write -= 1  # the pass gives the first token too
            if job.write > 0:
                self._writing.append(job)
            else:
                done.append(job)
        return self._times.reading(PASS_TOKENS - left, prompts), done

    def _write(self) -> tuple[float, list[_Job]]:
        seconds = self._times.decoding(len(self._writing))
        for job in self._writing:
            job.write -= 1
        done = [job for job in self._writing if job.write <= 0]
        self._writing = [job for job in self._writing if job.write > 0]
        return seconds, done


class _Device:
    """Its engines take turns."""

    def __init__(self) -> None:
        self.engines: list[_Engine] = []
        self.room = 1.0
        self._task: asyncio.Task[None] | None = None

    @property
    def busy_s(self) -> float:
        return sum(engine.busy_s for engine in self.engines)

    def wake(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work())

    async def _work(self) -> None:
        await asyncio.sleep(0)  # requests of this moment share the first pass
        while (engine := self._next()) is not None:
            seconds, done = engine.step()
            await asyncio.sleep(seconds)
            for job in done:
                if not job.done.done():
                    job.done.set_result(None)
            if done:
                await asyncio.sleep(0)  # what they ask for next may share the next pass

    def _next(self) -> _Engine | None:
        """The engine with most to do; none waits for more than `PATIENCE` passes of others."""
        able = [engine for engine in self.engines if engine.load]
        if not able:
            return None
        chosen = max(able, key=lambda engine: (engine.passed_over, engine.load))
        if chosen.passed_over < PATIENCE:
            chosen = max(able, key=lambda engine: engine.load)
        for engine in self.engines:
            engine.passed_over = engine.passed_over + 1 if engine in able else 0
        chosen.passed_over = 0
        return chosen


class _Deployed:
    """Engines on devices."""

    def __init__(self, times: Mapping[Role, ServiceTimes], deployment: Deployment) -> None:
        self.engines: dict[Role, list[_Engine]] = {}
        devices: list[_Device] = []
        for role, replicas in sorted(deployment.items(), key=lambda item: -item[1].device):
            self.engines[role] = [
                _Engine(role, times[role], _device_for(replicas.device, devices))
                for _ in range(replicas.count)
            ]

    async def solve(self, number: int, trace: Trace) -> None:
        for asked in trace:
            serving = [self._engine(number, work.role).serve(work) for work in asked]
            if len(serving) == 1:
                await serving[0]
            else:
                await asyncio.gather(*serving)

    def _engine(self, number: int, role: Role) -> _Engine:
        engines = self.engines[role]
        return engines[number % len(engines)]


def _device_for(share: float, devices: list[_Device]) -> _Device:
    """A device with room for an engine; a new one if there is none."""
    if share < 1.0:
        for device in devices:
            if device.room >= share - 1e-9:
                device.room -= share
                return device
    device = _Device()
    device.room = 1.0 - min(share, 1.0)
    devices.append(device)
    return device


def simulate(
    measured: Measured,
    deployment: Deployment,
    *,
    problems: int,
    concurrency: int,
    rate: float | None = None,
    seed: int = 0,
) -> Outcome:
    """Have a simulated deployment solve problems, the measured ones again and again.

    Args:
        measured: service times and traces.
        deployment: the replicas.
        problems: how many.
        concurrency: problems in flight at most; others wait.
        rate: problems that arrive in a second, at random; None for all at the start.
        seed: of the arrivals.
    """

    async def run() -> Outcome:
        deployed = _Deployed(measured.times, deployment)
        room = asyncio.Semaphore(concurrency)
        clock, draw = asyncio.get_running_loop().time, random.Random(seed)
        latencies: list[float] = []
        running = most = 0

        async def one(number: int) -> None:
            nonlocal running, most
            arrived = clock()
            async with room:
                running += 1
                most = max(most, running)
                await deployed.solve(number, measured.traces[number % len(measured.traces)])
                running -= 1
            latencies.append(clock() - arrived)

        async with asyncio.TaskGroup() as tasks:
            for number in range(problems):
                tasks.create_task(one(number))
                if rate is not None:
                    await asyncio.sleep(draw.expovariate(rate))
        return _outcome(deployed, latencies, clock(), most)

    return run_virtually(run())


def _outcome(
    deployed: _Deployed, latencies: Sequence[float], seconds: float, in_flight: int
) -> Outcome:
    seconds = max(seconds, 1e-9)
    work: dict[Role, float] = {}
    busy: dict[Role, float] = {}
    load: dict[Role, float] = {}
    for role, engines in deployed.engines.items():
        work[role] = sum(engine.busy_s for engine in engines)
        busy[role] = work[role] / seconds / len(engines)
        load[role] = max(engine.device.busy_s for engine in engines) / seconds
    return Outcome(len(latencies) / seconds, tuple(sorted(latencies)), busy, load, work, in_flight)
