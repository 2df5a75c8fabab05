"""How many requests are at one server at once: grown carefully, halved when it is too much."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager


class Limiter:
    """Additive increase, multiplicative decrease, as TCP does it. Belongs to one event loop.

    A server that is told to take too many requests says so for many of them at once. All of them
    are one sign: the limit is halved once, and not again before a request sent later complains.

    Args:
        most: where the limit starts, and its upper bound.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._limit = float(most)
        self._active = 0
        self._round = 0
        self._resume_at = 0.0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def limit(self) -> int:
        """Requests that may be under way now."""
        return int(self._limit)

    @property
    def active(self) -> int:
        """Requests that are under way."""
        return self._active

    @asynccontextmanager
    async def slot(self) -> AsyncGenerator[int]:
        """Wait for room. Gives the round that the request belongs to, for `slow_down`."""
        await self._enter()
        try:
            yield self._round
        finally:
            self._active -= 1
            self._wake()

    def speed_up(self) -> None:
        """A request was served."""
        self._limit = min(self._most, self._limit + 1.0 / self._limit)
        self._wake()

    def slow_down(self, round: int, pause_s: float | None) -> None:
        """A request of that round found the server busy; with `pause_s`, send nothing so long."""
        if round == self._round:
            self._round += 1
            self._limit = max(1.0, self._limit / 2.0)
        if pause_s:
            loop = asyncio.get_running_loop()
            self._resume_at = max(self._resume_at, loop.time() + pause_s)
            loop.call_at(self._resume_at, self._wake)

    async def _enter(self) -> None:
        if not self._waiting and self._has_room():
            self._active += 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # woken and cancelled at the same moment
                self._active -= 1
            self._wake()
            raise

    def _has_room(self) -> bool:
        now = asyncio.get_running_loop().time()
        return self._active < self.limit and now >= self._resume_at

    def _wake(self) -> None:
        while self._waiting and self._has_room():
            turn = self._waiting.popleft()
            if not turn.done():
                self._active += 1
                turn.set_result(None)
