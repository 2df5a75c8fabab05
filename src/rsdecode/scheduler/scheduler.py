"""Keeps many problems in flight; each advances on its own, none waits for another."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from rsdecode.core.protocols import Models
from rsdecode.core.types import Problem, Step, Trajectory
from rsdecode.methods import Method
from rsdecode.scheduler.drive import abandon, advance


@dataclass(frozen=True, slots=True)
class Job:
    """One sample of one problem."""

    problem: Problem
    sample: int = 0


Listener = Callable[[Job, Step], None]
"""Called with every step of every problem as it is decided."""


class Scheduler:
    """Runs one method over many jobs.

    There are no rounds: a problem asks for its next step as soon as it has its replies, and the
    models batch whatever requests are waiting for them at that moment. A failure, a cancellation or
    a passed deadline ends its own problem and no other.

    Args:
        models: what answers the requests; not closed here.
        method: the decoding method of all jobs.
        seed: of the run; a job's draws depend on it, its problem's id and its sample alone.
        concurrency: jobs in flight at most.
        timeout_s: deadline of one job, from its start; None for none.
        listener: told of every decided step.

    Raises:
        ConfigError: `models` lacks one that the method needs.
        ValueError: a number is out of range.
    """

    def __init__(
        self,
        models: Models,
        method: Method,
        *,
        seed: int = 0,
        concurrency: int = 64,
        timeout_s: float | None = None,
        listener: Listener | None = None,
    ) -> None:
        if concurrency < 1:
            raise ValueError(f"concurrency {concurrency!r} must be at least 1")
        if timeout_s is not None and not timeout_s > 0:
            raise ValueError(f"timeout_s {timeout_s!r} must be positive")
        models.require(method.roles)
        self._models = models
        self._method = method
        self._seed = seed
        self._concurrency = concurrency
        self._timeout_s = timeout_s
        self._listener = listener
        self._running: dict[Job, asyncio.Task[None]] = {}
        self._cancelled: set[Job] = set()

    async def run(self, jobs: Iterable[Job]) -> AsyncIterator[Trajectory]:
        """Yield trajectories in the order in which they end.

        `jobs` is read lazily, at most `concurrency` ahead. Leaving the iteration early cancels what
        is in flight.
        """
        waiting = iter(jobs)
        ended: asyncio.Queue[Trajectory | BaseException] = asyncio.Queue()
        try:
            self._start(waiting, ended)
            while self._running:
                result = await ended.get()
                self._start(waiting, ended)
                if isinstance(result, BaseException):
                    raise result
                yield result
        finally:
            for task in self._running.values():
                task.cancel()
            await asyncio.gather(*self._running.values(), return_exceptions=True)
            self._running.clear()

    def cancel(self, problem_id: str) -> int:
        """End the jobs of a problem with `cancelled`; returns how many were in flight."""
        jobs = [job for job in self._running if job.problem.id == problem_id]
        for job in jobs:
            self._cancelled.add(job)
            self._running[job].cancel()
        return len(jobs)

    def _start(
        self, waiting: Iterator[Job], ended: asyncio.Queue[Trajectory | BaseException]
    ) -> None:
        """Fill up to `concurrency` jobs in flight."""
        while len(self._running) < self._concurrency:
            job = next(waiting, None)
            if job is None:
                return
            if job in self._running:
                raise ValueError(
                    f"problem {job.problem.id!r}, sample {job.sample} is in flight already: "
                    "give every problem its own id"
                )
            self._running[job] = asyncio.create_task(self._solve(job, ended))

    async def _solve(self, job: Job, ended: asyncio.Queue[Trajectory | BaseException]) -> None:
        """Run one job and hand in its trajectory, whatever happens to it."""
        started = time.perf_counter()
        decoding = self._method(job.problem, seed=self._seed, sample=job.sample)
        try:
            async with asyncio.timeout(self._timeout_s):
                trajectory = await advance(decoding, self._models, self._watcher(job))
        except TimeoutError:
            trajectory = abandon(decoding, f"the deadline of {self._timeout_s} s passed")
        except asyncio.CancelledError:
            if job not in self._cancelled:
                raise
            trajectory = abandon(decoding, "cancelled by the caller")
        except Exception as error:  # noqa: BLE001 - a bug ends the run, in the caller's frame
            ended.put_nowait(error)
            return
        finally:
            self._running.pop(job, None)
            self._cancelled.discard(job)
        ended.put_nowait(replace(trajectory, seconds=time.perf_counter() - started))

    def _watcher(self, job: Job) -> Callable[[Step], None] | None:
        listener = self._listener
        return None if listener is None else lambda step: listener(job, step)
