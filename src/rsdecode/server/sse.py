"""Server-sent events, and requests whose clients may leave before they are answered."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Coroutine
from typing import Any, TypeVar

from fastapi import Request, Response
from starlette.types import Receive, Scope, Send

from rsdecode.server.errors import ApiError

logger = logging.getLogger(__name__)
Result = TypeVar("Result")
PAUSE_S = 10.0
"""After so long without an event a comment is sent, lest a proxy takes the stream for dead."""
DONE = b"data: [DONE]\n\n"
HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


class ClientLeft(Exception):
    """The client closed the connection before it was answered."""


def data(record: dict[str, Any]) -> bytes:
    """A record as an event."""
    return b"data: " + json.dumps(record, separators=(",", ":")).encode() + b"\n\n"


async def while_connected(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """What `work` gives; cancelled when the client leaves.

    Raises:
        ClientLeft: it left.
    """
    task = asyncio.ensure_future(work)
    watch = asyncio.ensure_future(_disconnected(request.receive))
    try:
        await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientLeft
    finally:
        await _end(task, watch)


class StartedEvents:
    """Events of which the first is there: what fails before it gets a status of its own."""

    def __init__(self, first: bytes, rest: AsyncGenerator[bytes]) -> None:
        self._first: bytes | None = first
        self._rest = rest

    @classmethod
    async def of(cls, events: AsyncGenerator[bytes]) -> StartedEvents:
        """Wait for the first event."""
        return cls(await anext(events), events)

    def __aiter__(self) -> StartedEvents:
        return self

    async def __anext__(self) -> bytes:
        if (first := self._first) is not None:
            self._first = None
            return first
        return await anext(self._rest)

    async def aclose(self) -> None:
        """Give up what would follow."""
        await self._rest.aclose()


class EventStream(Response):
    """A stream of events; an `ApiError` midway is an event too. Ends when the client leaves.

    Args:
        events: what is sent; closed in the end.
        last: sent after the last event.
    """

    media_type = "text/event-stream"

    def __init__(self, events: StartedEvents, *, last: bytes = DONE) -> None:
        super().__init__(headers=HEADERS)
        del self.headers["content-length"]
        self._events = events
        self._last = last
        self._sent = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send all of it."""
        sending = asyncio.ensure_future(self._send(send))
        pausing = asyncio.ensure_future(self._fill_pauses(send))
        watch = asyncio.ensure_future(_disconnected(receive))
        try:
            await asyncio.wait({sending, watch}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
        except OSError:
            logger.debug("the client left while it was sent an event")
        finally:
            await _end(sending, pausing, watch)
            await self._events.aclose()

    async def _send(self, send: Send) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(start)
        try:
            async for event in self._events:
                await self._write(send, event)
        except ApiError as error:
            await self._write(send, data(error.body))
        await self._write(send, self._last, more=False)

    async def _write(self, send: Send, body: bytes, *, more: bool = True) -> None:
        self._sent = asyncio.get_running_loop().time()
        await send({"type": "http.response.body", "body": body, "more_body": more})

    async def _fill_pauses(self, send: Send) -> None:
        loop = asyncio.get_running_loop()
        self._sent = loop.time()
        while True:
            await asyncio.sleep(max(0.01, self._sent + PAUSE_S - loop.time()))
            if loop.time() >= self._sent + PAUSE_S:
                await self._write(send, b": waiting\n\n")


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _end(*tasks: asyncio.Future[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
