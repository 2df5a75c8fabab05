"""Keeps many problems in flight on the same models; each advances on its own.

async with Session(models) as session:
handle = session.submit(problem, RSD(), seed=1)
async for event in handle:
...
trajectory = await handle.result()
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import count
from typing import Self

from rsdecode.core.errors import Overloaded, SessionClosed
from rsdecode.core.protocols import Models
from rsdecode.core.thoughts import THOUGHTS, Thoughts
from rsdecode.core.types import FinishReason, Problem, Role, Step, Trajectory
from rsdecode.methods import Method, require
from rsdecode.session.answering import Answering
from rsdecode.session.cache_session import in_cache_session
from rsdecode.session.drive import abandon, run_method
from rsdecode.session.events import Decided
from rsdecode.session.handle import Events, Handle
from rsdecode.session.job import Job
from rsdecode.session.waiting_line import WaitingLine

logger = logging.getLogger(__name__)


class Session:
    """Solves problems that may be submitted at any time, with different methods side by side.

    There are no rounds: a problem asks for its next step as soon as it has its replies, and the
    models batch whatever requests wait for them at that moment. A failure, a cancellation, a passed
    deadline or a mistake of a method ends its own problem and no other. What a problem's trajectory
    is never depends on what else is in flight.

    A session belongs to the event loop in which it is first used. Leaving it as a context manager
    lets everything that was submitted end; if an exception leaves it, all is cancelled.

    Args:
        models: what answers the requests; not closed here.
        concurrency: problems in flight at most; others wait.
        queue_limit: problems that may wait at most.
        thoughts: the marks of a model's thoughts, after which answers are looked for.

    Raises:
        ValueError: a number is out of range.
    """

    def __init__(
        self,
        models: Models,
        *,
        concurrency: int = 32,
        queue_limit: int = 100_000,
        thoughts: Thoughts = THOUGHTS,
    ) -> None:
        if concurrency < 1:
            raise ValueError(f"concurrency {concurrency!r} must be at least 1")
        if queue_limit < 0:
            raise ValueError(f"queue_limit {queue_limit!r} must be at least 0")
        self.models = models
        self.concurrency = concurrency
        self.queue_limit = queue_limit
        self.thoughts = thoughts
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting = WaitingLine()
        self._running: dict[Handle, asyncio.Task[None]] = {}
        self._cache_sessions: set[str] = set()
        self._numbers = count(1)
        self._closed = False
        self._waiters: list[asyncio.Future[None]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: object, *_: object) -> None:
        await self.close(cancel=kind is not None)

    @property
    def in_flight(self) -> int:
        """Problems being solved."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """Problems that wait for others to end."""
        return len(self._waiting)

    @property
    def full(self) -> bool:
        """Whether the next problem would be refused (`Overloaded`)."""
        return not (self._can_start or self._can_wait)

    def submit(
        self,
        problem: Problem,
        method: Method,
        *,
        seed: int = 0,
        sample: int = 0,
        deadline_s: float | None = None,
        priority: int = 0,
        events: Events = "all",
    ) -> Handle:
        """Start to solve a problem, or let it wait for its turn (see `Job` for the arguments).

        Raises:
            ConfigError: a model that the method needs is missing or does not suit it.
            Overloaded: `queue_limit` problems wait already.
            SessionClosed: the session was closed.
            RuntimeError: called outside of the session's event loop.
        """
        job = Job(problem, method, seed, sample, deadline_s, priority)
        return self.submit_job(job, events=events)

    def submit_job(self, job: Job, *, events: Events = "all") -> Handle:
        """Like `submit`, for a job that is there already."""
        self._check_loop()
        require(job.method, self.models)
        if self._closed:
            raise SessionClosed("the session is closed: it takes no more problems")
        handle = Handle(job, events, self._cancel)
        if self._can_start:
            self._start(handle)
        elif self._can_wait:
            self._waiting.add(handle)
        else:
            raise Overloaded(
                f"{len(self._waiting)} problems wait already (queue_limit {self.queue_limit}): "
                "submit more slowly, or wait with `await session.room()`"
            )
        if (limit := job.deadline_s) is not None:
            reason = f"the deadline of {limit} s passed"
            timer = asyncio.get_running_loop().call_later(limit, handle.cancel, reason)
            handle.add_done_callback(timer.cancel)
        return handle

    async def room(self) -> None:
        """Wait until a submitted problem would be started at once: back-pressure for producers."""
        while not self._can_start:
            await self._change()

    async def run(self, jobs: Iterable[Job]) -> AsyncGenerator[Trajectory]:
        """Solve jobs; yields trajectories in the order in which they end.

        A job is read when there is room to start it, so `jobs` may be endless. Leaving the
        iteration early cancels those that are in flight.
        """
        unread = iter(jobs)
        ended: asyncio.Queue[Handle] = asyncio.Queue()
        own: set[Handle] = set()

        def on_end(handle: Handle) -> None:
            own.discard(handle)
            ended.put_nowait(handle)

        try:
            exhausted = self._fill(unread, own, on_end)
            while own or not ended.empty() or not exhausted:
                handle = None
                if own or not ended.empty():
                    handle = await ended.get()
                else:  # others have taken all the room
                    await self.room()
                exhausted = self._fill(unread, own, on_end)
                if handle is not None:
                    yield await handle.result()
        finally:
            left = list(own)
            for handle in left:
                handle.cancel()
            await asyncio.gather(*(handle.result() for handle in left), return_exceptions=True)

    async def close(self, *, cancel: bool = False) -> None:
        """Take no more problems, and wait until those that were submitted have ended.

        Args:
            cancel: end them with `cancelled` instead of letting them come to their end.
        """
        self._closed = True
        if cancel:
            for handle in [*self._waiting, *self._running]:
                handle.cancel("the session was closed")
        while self._running or self._waiting:
            await self._change()

    def _fill(
        self, unread: Iterator[Job], own: set[Handle], on_end: Callable[[Handle], None]
    ) -> bool:
        """Submit jobs of one `run` while there is room; returns whether there are no more."""
        while len(own) < self.concurrency and (self._can_start or self._can_wait):
            job = next(unread, None)
            if job is None:
                return True
            handle = self.submit_job(job, events="none")
            own.add(handle)
            handle.add_done_callback(partial(on_end, handle))
        return False

    @property
    def _can_start(self) -> bool:
        return len(self._running) < self.concurrency and not self._waiting

    @property
    def _can_wait(self) -> bool:
        return len(self._waiting) < self.queue_limit

    async def _change(self) -> None:
        """Wait until a problem has ended."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        await waiter

    def _check_loop(self) -> None:
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            raise RuntimeError(
                "a session belongs to the event loop in which it was first used: give every loop "
                "a session of its own (models may be shared), or use rsdecode.load()"
            )

    def _cancel(self, handle: Handle) -> None:
        task = self._running.get(handle)
        if task is not None:
            task.cancel()
        else:
            self._waiting.remove(handle)
            handle.finish(_unstarted(handle))
            self._notify()

    def _start(self, handle: Handle) -> None:
        task = asyncio.get_running_loop().create_task(self._solve(handle))
        self._running[handle] = task
        task.add_done_callback(partial(self._end, handle))

    def _end(self, handle: Handle, task: asyncio.Task[None]) -> None:
        """Make room for the next problem, whatever became of this one."""
        del self._running[handle]
        if not handle.done:  # the task ended before its first step, or with its event loop
            if task.cancelled() and handle.cancel_reason is not None:
                handle.finish(_unstarted(handle))
            else:
                handle.abort()
        while len(self._running) < self.concurrency and (waiting := self._waiting.pop()):
            self._start(waiting)
        self._notify()

    def _notify(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()

    async def _solve(self, handle: Handle) -> None:
        """Run one job to its end; every failure is in its trajectory."""
        started = time.perf_counter()
        steps: list[Step] = []

        def on_step(step: Step) -> None:
            handle.tell(Decided(len(steps), step))
            steps.append(step)

        on_event = None if handle.events == "none" else handle.tell
        answering = Answering(
            self.models, on_event, deltas=_shown(handle.events), told=handle.job.told
        )
        name = self._claim(handle.job.cache_session)
        try:
            decoding = in_cache_session(name, handle.job)
            async with answering:
                try:
                    trajectory = await run_method(decoding, answering, on_step)
                except asyncio.CancelledError:
                    if handle.cancel_reason is None:
                        raise
                    _uncancel()
                    trajectory = abandon(decoding, handle.cancel_reason)
        except Exception as error:
            logger.exception("the method of problem %r failed", handle.job.problem.id)
            trajectory = _broken(handle.job, steps, error)
        finally:
            self._release(name)
        trajectory = replace(
            trajectory,
            ledger=trajectory.ledger + answering.spent_ahead,
            seconds=time.perf_counter() - started,
            thoughts=replace(self.thoughts, opened=trajectory.thoughts.opened),
        )
        handle.finish(trajectory)

    def _claim(self, name: str) -> str:
        """A cache session that no other problem in flight has."""
        while name in self._cache_sessions:
            name = f"{name}~{next(self._numbers)}"
        self._cache_sessions.add(name)
        return name

    def _release(self, name: str) -> None:
        self._cache_sessions.discard(name)
        try:
            self.models.end(name)
        except Exception:
            logger.exception("a model failed when it was told that %r is over", name)


def _shown(events: Events) -> Collection[Role]:
    """Whose text is told of while it is written."""
    if events == "all":
        return tuple(Role)
    return (events,) if isinstance(events, Role) else ()


def _unstarted(handle: Handle) -> Trajectory:
    """What there is of a problem that was cancelled before it began."""
    job, reason = handle.job, handle.cancel_reason or ""
    return Trajectory(
        job.problem, (), FinishReason.CANCELLED, seed=job.seed, sample=job.sample, error=reason
    )


def _broken(job: Job, steps: Sequence[Step], error: Exception) -> Trajectory:
    """What is left of a problem whose method has a mistake; what it has cost is not known."""
    return Trajectory(
        job.problem,
        tuple(steps),
        FinishReason.ERROR,
        seed=job.seed,
        sample=job.sample,
        error=f"the method {type(job.method).__name__} failed: {type(error).__name__}: {error}",
    )


def _uncancel() -> None:
    """The cancellation of the running task has been dealt with: it may wait again."""
    task = asyncio.current_task()
    if task is not None:
        task.uncancel()
