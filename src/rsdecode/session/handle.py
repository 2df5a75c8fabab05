"""What a caller holds of a problem that it has submitted: events, the result, cancellation."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Literal, Self

from rsdecode.core.types import Role, Trajectory
from rsdecode.session.events import Event, Finished
from rsdecode.session.job import Job

Events = Literal["all", "steps", "none"] | Role
"""Which events a handle collects: all; all but `Delta`; none; or a role: all, but `Delta` only of
what that role writes."""
CANCELLED = "cancelled by the caller"


class Handle:
    """A submitted job. An asynchronous iterator over its events, which end with `Finished`.

    Events are kept until they are read, by one reader. Whoever only wants the result asks for no
    events (`events="none"`). All methods belong to the event loop of the session.
    """

    def __init__(self, job: Job, events: Events, on_cancel: Callable[[Handle], None]) -> None:
        self.job = job
        self.events: Events = events
        self.cancel_reason: str | None = None
        self._on_cancel = on_cancel
        self._result: asyncio.Future[Trajectory] = asyncio.get_running_loop().create_future()
        self._unread: deque[Event] = deque()
        self._reader: asyncio.Future[None] | None = None

    @property
    def done(self) -> bool:
        """Whether the problem has ended."""
        return self._result.done()

    async def result(self) -> Trajectory:
        """The finished trajectory; waits for it.

        A failure, a cancellation or a passed deadline is in the trajectory (`stop_reason`,
        `error`), with the steps decided before it.

        Raises:
            asyncio.CancelledError: the caller was cancelled, or the session's event loop ended.
        """
        return await asyncio.shield(self._result)

    def cancel(self, reason: str = CANCELLED) -> bool:
        """End the problem with `cancelled`, keeping its steps; False if it has ended already.

        Work under way is given up within one decode step of an in-process model; a server is told
        by closing the connection.
        """
        if self.done or self.cancel_reason is not None:
            return False
        self.cancel_reason = reason
        self._on_cancel(self)
        return True

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        while not self._unread:
            if self.done:
                if self._result.cancelled():
                    raise asyncio.CancelledError
                raise StopAsyncIteration
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        return self._unread.popleft()

    def tell(self, event: Event) -> None:
        """For the session: add an event."""
        if self.events != "none":
            self._unread.append(event)
            self._wake()

    def finish(self, trajectory: Trajectory) -> None:
        """For the session: the problem has ended."""
        if not self._result.done():
            self._result.set_result(trajectory)
            self.tell(Finished(trajectory))
            self._wake()

    def abort(self) -> None:
        """For the session: its event loop ends."""
        self._result.cancel()
        self._wake()

    def add_done_callback(self, call: Callable[[], None]) -> None:
        """Have `call` called soon after the problem has ended."""
        self._result.add_done_callback(lambda _: call())

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)
