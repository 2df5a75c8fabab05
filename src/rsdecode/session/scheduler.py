"""Keeps many problems in flight; each advances on its own, none waits for another."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial

from rsdecode.core.protocols import Models
from rsdecode.core.requests import Decoding, session_of
from rsdecode.core.types import Problem, Step, Trajectory
from rsdecode.methods import Method, require
from rsdecode.session.answering import lookahead_for
from rsdecode.session.drive import abandon, run_method

Key = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Job:
    """One sample of one problem."""

    problem: Problem
    sample: int = 0

    @property
    def key(self) -> Key:
        """Tells the jobs in flight apart."""
        return self.problem.id, self.sample

    @property
    def session(self) -> str:
        """Names what all its requests share."""
        return session_of(self.problem, self.sample)


Listener = Callable[[Job, Step], None]
"""Called with every step of every problem as it is decided."""

CANCELLED = "cancelled by the caller"


@dataclass(slots=True)
class _Flight:
    """What one run has in flight, and what of it has ended."""

    tasks: dict[Key, asyncio.Task[Trajectory]] = field(
        default_factory=dict[Key, asyncio.Task[Trajectory]]
    )
    ended: asyncio.Queue[Trajectory | BaseException] = field(
        default_factory=asyncio.Queue["Trajectory | BaseException"]
    )


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
        ConfigError: `models` lacks one that the method needs, or they do not go together.
        ValueError: a number is out of range.
    """

    def __init__(
        self,
        models: Models,
        method: Method,
        *,
        seed: int = 0,
        concurrency: int = 32,
        timeout_s: float | None = None,
        listener: Listener | None = None,
    ) -> None:
        if concurrency < 1:
            raise ValueError(f"concurrency {concurrency!r} must be at least 1")
        if timeout_s is not None and not timeout_s > 0:
            raise ValueError(f"timeout_s {timeout_s!r} must be positive")
        require(method, models)
        self._models = models
        self._method = method
        self._seed = seed
        self._concurrency = concurrency
        self._timeout_s = timeout_s
        self._listener = listener
        self._running: dict[Key, asyncio.Task[Trajectory]] = {}
        self._cancelled: set[Key] = set()

    async def run(self, jobs: Iterable[Job]) -> AsyncGenerator[Trajectory]:
        """Yield trajectories in the order in which they end.

        A job is read when there is room to start it, so `jobs` may be endless. Leaving the
        iteration early cancels what is in flight.
        """
        waiting = iter(jobs)
        flight = _Flight()
        try:
            self._start(waiting, flight)
            while flight.tasks or not flight.ended.empty():
                result = await flight.ended.get()
                self._start(waiting, flight)
                if isinstance(result, BaseException):
                    raise result
                yield result
        finally:
            tasks = list(flight.tasks.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def cancel(self, problem_id: str) -> int:
        """End the jobs of a problem with `cancelled`; returns how many were in flight."""
        keys = [key for key in self._running if key[0] == problem_id]
        cancelled = [key for key in keys if self._running[key].cancel()]
        self._cancelled.update(cancelled)
        return len(cancelled)

    def _start(self, waiting: Iterator[Job], flight: _Flight) -> None:
        """Fill up to `concurrency` jobs in flight."""
        while len(flight.tasks) < self._concurrency:
            job = next(waiting, None)
            if job is None:
                return
            if job.key in self._running:
                raise ValueError(
                    f"problem {job.problem.id!r}, sample {job.sample} is in flight already: "
                    "give every problem its own id"
                )
            task = asyncio.create_task(self._solve(job))
            self._running[job.key] = flight.tasks[job.key] = task
            task.add_done_callback(partial(self._end, job, flight))

    async def _solve(self, job: Job) -> Trajectory:
        """Run one job; its own failure, cancellation or deadline is in the trajectory."""
        started = time.perf_counter()
        decoding = self._decode(job)
        async with lookahead_for(self._models) as ahead:
            try:
                async with asyncio.timeout(self._timeout_s):
                    trajectory = await run_method(decoding, self._models, ahead, self._watcher(job))
            except TimeoutError:
                trajectory = abandon(decoding, f"the deadline of {self._timeout_s} s passed")
            except asyncio.CancelledError:
                if job.key not in self._cancelled:
                    raise
                trajectory = abandon(decoding, CANCELLED)
        ledger = trajectory.ledger + ahead.spent
        return replace(trajectory, ledger=ledger, seconds=time.perf_counter() - started)

    def _end(self, job: Job, flight: _Flight, task: asyncio.Task[Trajectory]) -> None:
        """Hand in the result of a task; an exception is a bug and ends the run."""
        del self._running[job.key], flight.tasks[job.key]
        self._models.end(job.session)
        if not task.cancelled():
            flight.ended.put_nowait(task.exception() or task.result())
        elif job.key in self._cancelled:  # before it took its first step
            flight.ended.put_nowait(abandon(self._decode(job), CANCELLED))
        self._cancelled.discard(job.key)

    def _decode(self, job: Job) -> Decoding:
        return self._method(job.problem, seed=self._seed, sample=job.sample)

    def _watcher(self, job: Job) -> Callable[[Step], None] | None:
        listener = self._listener
        return None if listener is None else lambda step: listener(job, step)
