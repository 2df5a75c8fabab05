"""A small HTTP server for tests: it serves what a function says, and misbehaves on request."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

Fault = Literal["close", "reset", "hang", "busy", "broken", "truncated", "lost"]
"""Connection closed unanswered; aborted in mid-body; no reply; 429; 500; half the JSON; 503."""


class Reply(NamedTuple):
    status: int
    body: Any
    headers: Mapping[str, str] = MappingProxyType({})


class Events(NamedTuple):
    """Server-sent events, `pause_s` apart; after `breaks_after` of them the connection is lost."""

    events: Sequence[Any]
    pause_s: float = 0.0
    breaks_after: int | None = None


Answer = Callable[[str, dict[str, Any]], Awaitable[Reply | Events]]
"""Gives the reply to a path and a body."""
REASONS = {200: "OK", 404: "Not Found"}


def _no_fault(_: str) -> Fault | None:
    return None


class LocalServer:
    """Serves on 127.0.0.1, on one port that it keeps when it is stopped and started again."""

    def __init__(self, answer: Answer, fault: Callable[[str], Fault | None] | None = None) -> None:
        self.answer = answer
        self.fault = fault or _no_fault
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.headers: list[dict[str, str]] = []
        self.faults = 0
        self.sent = self.hung_up = 0
        self.open = self.peak = self.serving = self.busiest = 0
        self.port = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> LocalServer:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """As if it were killed: nobody listens, and all connections are gone."""
        assert self._server is not None
        self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        self.open += 1
        self.peak = max(self.peak, self.open)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while await self._exchange(reader, writer):
                pass
        self.open -= 1
        self._writers.discard(writer)
        writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.split("\r\n")
        headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines if line)}
        raw = await reader.readexactly(int(headers.get("content-length", 0)))
        path, body = first.split()[1], json.loads(raw or b"{}")
        self.requests.append((path, body))
        self.headers.append(headers)
        self.serving += 1
        self.busiest = max(self.busiest, self.serving)
        try:
            fault = self.fault(path)
            self.faults += fault is not None
            return await self._reply(reader, writer, path, body, fault)
        finally:
            self.serving -= 1

    async def _reply(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        path: str,
        body: dict[str, Any],
        fault: Fault | None,
    ) -> bool:
        if fault == "close":
            return False
        if fault == "hang":
            await reader.read(1)  # until the client gives up
            return False
        if fault == "busy":
            reply = Reply(429, {"error": {"message": "slow down"}}, {"retry-after": "0.01"})
        elif fault in ("broken", "lost"):
            reply = Reply(500 if fault == "broken" else 503, {"detail": "out of order"})
        else:
            reply = await self.answer(path, body)
        if isinstance(reply, Events):
            await self._stream(writer, reply)
            return False
        payload = json.dumps(reply.body).encode()
        if fault == "truncated":
            payload = payload[: len(payload) // 2]
        told = {"content-length": str(len(payload)), **reply.headers}
        status = f"HTTP/1.1 {reply.status} {REASONS.get(reply.status, 'Status')}\r\n"
        writer.write((status + "".join(f"{k}: {v}\r\n" for k, v in told.items()) + "\r\n").encode())
        if fault == "reset":
            writer.write(payload[: len(payload) // 2])
            await writer.drain()
            writer.transport.abort()
            return False
        writer.write(payload)
        await writer.drain()
        return True

    async def _stream(self, writer: asyncio.StreamWriter, reply: Events) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n")
        try:
            for number, event in enumerate(reply.events):
                if number == reply.breaks_after:
                    writer.transport.abort()
                    return
                await asyncio.sleep(reply.pause_s)
                writer.write(f"data: {json.dumps(event)}\n\n".encode())
                await writer.drain()
                self.sent += 1
            writer.write(b"data: [DONE]\n\n")
            await writer.drain()
        except ConnectionError:
            self.hung_up += 1
