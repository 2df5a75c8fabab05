"""Requests on their way to the engine's thread, and replies and texts on their way back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from rsdecode.backends.transformers.jobs import Decode, Prefill, Prefilled
from rsdecode.core.protocols import Show

logger = logging.getLogger(__name__)

Conclude = Callable[[Prefilled], object]
"""Makes the reply to a `Prefill` job from what was read."""


@dataclass(slots=True, eq=False)
class Ticket:
    """A job, and the future of a waiting coroutine in another thread.

    Attributes:
        on_text: takes new text of a `Decode` job, on the coroutine's loop; None if nobody watches.
        conclude: makes the reply to a `Prefill` job, on the engine's thread; None for what it read.
        cancelled: set by the coroutine when it does not wait any more.
    """

    job: Decode | Prefill
    future: asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop
    on_text: Callable[[str], None] | None = None
    conclude: Conclude | None = None
    cancelled: bool = False

    def receive(self, value: object) -> None:
        """Take text or the reply; on the coroutine's loop. Nothing happens if it has left."""
        if self.future.done():
            return
        if not isinstance(value, str):
            self.future.set_result(value)
        elif self.on_text is not None:
            self.on_text(value)


def tickets_for(
    jobs: Sequence[Decode | Prefill],
    show: Show | None,
    conclude: Callable[[int, Prefilled], object] | None,
) -> list[Ticket]:
    """Tickets of jobs for the running loop; `show` and `conclude` are told a job's place."""
    loop = asyncio.get_running_loop()
    return [
        Ticket(
            job,
            loop.create_future(),
            loop,
            on_text=None if show is None else partial(show, place),
            conclude=None if conclude is None else partial(conclude, place),
        )
        for place, job in enumerate(jobs)
    ]


async def replies_to(tickets: Sequence[Ticket]) -> list[Any]:
    """Wait for all replies; who stops waiting cancels what is not answered yet."""
    try:
        return list(await asyncio.gather(*(ticket.future for ticket in tickets)))
    finally:
        for ticket in tickets:
            ticket.cancelled = not ticket.future.done() or ticket.future.cancelled()


class Outbox:
    """What the engine's thread has for coroutines: handed over once a step, to each loop at once.

    Waking a loop costs about as much as a token of a small model, so it is not done for each row.
    """

    def __init__(self) -> None:
        self._items: dict[asyncio.AbstractEventLoop, list[tuple[Ticket, object]]] = {}

    def put(self, ticket: Ticket, value: object) -> None:
        """Keep text or a reply for the next `flush`."""
        self._items.setdefault(ticket.loop, []).append((ticket, value))

    def flush(self) -> None:
        """Hand over everything; loops that are gone get nothing."""
        items, self._items = self._items, {}
        for loop, values in items.items():
            try:
                loop.call_soon_threadsafe(_deliver, values)
            except RuntimeError:  # the loop was closed
                logger.debug("an event loop was closed before its replies came")


def _deliver(values: list[tuple[Ticket, object]]) -> None:
    for ticket, value in values:
        try:
            ticket.receive(value)
        except Exception:  # of `on_text`: the other rows must get theirs
            logger.exception("showing text failed")
