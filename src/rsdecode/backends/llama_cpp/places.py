"""Which slot of llama.cpp serves a request; requests wait while all are busy."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from rsdecode.backends.transformers.slots import Slot, common_prefix


class Places:
    """The slots of one server, each a sequence whose prefix it keeps.

    llama.cpp finds out itself how much of a slot's sequence a prompt shares; here it is decided
    which slot that should be: that of the request's session, else one whose session is over.

    Args:
        count: slots.
    """

    def __init__(self, count: int) -> None:
        self._slots = [Slot(index) for index in range(count)]
        self._clock = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def busy(self) -> int:
        """Requests that are being served or wait."""
        return sum(slot.busy for slot in self._slots) + len(self._waiting)

    @asynccontextmanager
    async def take(self, session: str, ids: Sequence[int]) -> AsyncGenerator[Slot]:
        """A slot for a request of `session` with the tokens `ids`, once one is free."""
        while all(slot.busy for slot in self._slots):
            await self._turn()
        slot = self._choose(session, list(ids))
        self._clock += 1
        slot.session, slot.busy, slot.last_used = session, True, self._clock
        try:
            yield slot
        finally:
            slot.busy = False
            self._wake()

    def end(self, session: str) -> None:
        """A session is over: its slots, and those of its branches, are the first to be taken."""
        for slot in self._slots:
            if slot.session == session or slot.session.startswith(f"{session}/"):
                slot.session = ""

    def clear(self) -> None:
        """Forget what idle slots hold; llama.cpp must be told by the next request of each."""
        for slot in self._slots:
            if not slot.busy:
                slot.session, slot.ids = "", []

    def _choose(self, session: str, ids: list[int]) -> Slot:
        """The slot of the session, or one without a session, that shares most; else the oldest."""
        free = [slot for slot in self._slots if not slot.busy]
        own = [slot for slot in free if slot.session == session]
        over = [slot for slot in free if not slot.session]
        if own or over:
            return max(own or over, key=lambda s: (common_prefix(s.ids, ids), -s.last_used))
        return min(free, key=lambda slot: slot.last_used)

    async def _turn(self) -> None:
        """Wait until a slot may be free."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._wake()  # it was our turn: it is another's now
            raise
        finally:
            if turn in self._waiting:
                self._waiting.remove(turn)

    def _wake(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done() and not turn.get_loop().is_closed():
                turn.set_result(None)
                return
