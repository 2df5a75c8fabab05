"""Shares the work of a task out among workers that may vanish at any moment."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from rsdecode.core.errors import RsdError, WorkersLost
from rsdecode.distributed.tasks import Shapes, TaskSettings

DEATHS_IN_A_ROW = 5
"""Of workers for each place in the crew, without an answer in between, before the run gives up."""


class WorkerLost(RsdError):
    """A worker is gone; what it was doing is not done."""


class Member(Protocol):
    """A worker, as the crew sees it. Every call raises `WorkerLost` when it is gone."""

    async def load(self) -> None:
        """Load the models."""
        ...

    async def begin(self, task: TaskSettings) -> Shapes:
        """Get ready for a task."""
        ...

    async def do(self, item: Any) -> Any:
        """A piece of the task's work."""
        ...

    async def notes(self) -> tuple[str, ...]:
        """What readers of the results must know."""
        ...

    async def close(self) -> None:
        """Free what it holds."""
        ...


class Crew:
    """Places for workers; a worker that is lost is replaced, and its work is done by others.

    A piece of work leaves the queue for one worker at a time and is done when its result is here,
    so that every piece has exactly one result, however many workers have tried it.

    Attributes:
        size: places.

    Args:
        hire: starts a worker; nothing is loaded in it yet.
        size: places.
        at_once: pieces of work that a worker has at the same time.
        tell: is told, in words, when a worker is lost.
    """

    def __init__(
        self,
        hire: Callable[[], Awaitable[Member]],
        size: int,
        at_once: int,
        tell: Callable[[str], None],
    ) -> None:
        self.size = size
        self._hire = hire
        self._at_once = at_once
        self._tell = tell
        self._members: list[Member | None] = [None] * size
        self._deaths = 0

    async def shapes(self, task: TaskSettings) -> Shapes:
        """The shapes of a task's models, which its first worker loads.

        Raises:
            WorkersLost: one worker after the other is lost.
            RsdError: models cannot be loaded.
        """
        while True:
            try:
                return await (await self._member(0)).begin(task)
            except WorkerLost as lost:
                self._lose(0, lost)

    async def run(
        self, task: TaskSettings, items: Sequence[Any], take: Callable[[Any], None]
    ) -> None:
        """Have all the work of a task done.

        Args:
            task: its settings.
            items: the pieces; each pickles.
            take: takes the result of each, in the order in which they come.

        Raises:
            WorkersLost: one worker after the other is lost, and none gives an answer.
            RsdError: models cannot be loaded.
        """
        if not items:
            return
        work = _Work(task, items, take)
        places = [asyncio.create_task(self._place(at, work)) for at in range(len(self._members))]
        finished = asyncio.create_task(work.finished.wait())
        try:
            await asyncio.wait([finished, *places], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in (finished, *places):
                each.cancel()
            await asyncio.gather(finished, *places, return_exceptions=True)
        if not work.finished.is_set():
            broken = (place for place in places if not place.cancelled())
            raise next(error for place in broken if (error := place.exception()) is not None)

    async def notes(self) -> tuple[str, ...]:
        """What the workers have noted, each note once."""
        found: dict[str, None] = {}
        for member in self._members:
            try:
                found |= dict.fromkeys(await member.notes() if member is not None else ())
            except WorkerLost:
                continue
        return tuple(found)

    async def close(self) -> None:
        """Free what the workers hold."""
        closing = [member.close() for member in self._members if member is not None]
        self._members = [None for _ in self._members]
        await asyncio.gather(*closing, return_exceptions=True)

    async def _place(self, at: int, work: _Work) -> None:
        """Keep one worker busy; it is replaced for as long as there is work."""
        while True:
            try:
                member = await self._member(at)
                await member.begin(work.task)
                await self._busy(member, work)
            except WorkerLost as lost:
                self._lose(at, lost)

    async def _member(self, at: int) -> Member:
        """The worker of a place, with its models loaded."""
        member = self._members[at]
        if member is None:
            member = await self._hire()
            await member.load()
            self._members[at] = member
        return member

    async def _busy(self, member: Member, work: _Work) -> None:
        """Have a worker do pieces of work until it is lost."""
        lanes = [asyncio.create_task(self._lane(member, work)) for _ in range(self._at_once)]
        try:
            await asyncio.gather(*lanes)
        finally:
            for lane in lanes:
                lane.cancel()
            await asyncio.gather(*lanes, return_exceptions=True)

    async def _lane(self, member: Member, work: _Work) -> None:
        while True:
            item = await work.queue.get()
            try:
                result = await member.do(item)
            except BaseException:
                work.queue.put_nowait(item)
                raise
            self._deaths = 0
            work.done(result)

    def _lose(self, at: int, lost: WorkerLost) -> None:
        self._members[at] = None
        self._deaths += 1
        if self._deaths >= DEATHS_IN_A_ROW * self.size:
            raise WorkersLost(
                f"{self._deaths} workers were lost in a row without an answer in between; the "
                f"last: {lost}. What was answered is kept: see to the cluster (memory of a "
                "worker's node, the `ray` settings), then the same command goes on from there"
            )
        self._tell(f"a worker is lost ({lost}): its problems go to others, another one is started")


class _Work:
    """What is to be done for one task."""

    def __init__(
        self, task: TaskSettings, items: Sequence[Any], take: Callable[[Any], None]
    ) -> None:
        self.task = task
        self.finished = asyncio.Event()
        self.queue: asyncio.Queue[Any] = asyncio.Queue()
        for item in items:
            self.queue.put_nowait(item)
        self._left = len(items)
        self._take = take

    def done(self, result: Any) -> None:
        self._take(result)
        self._left -= 1
        if not self._left:
            self.finished.set()
