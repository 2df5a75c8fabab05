"""Requests that are under way before their reply is needed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from rsdecode.core.requests import Begun, Failed, Generate, Reply
from rsdecode.core.types import Ledger, Usage

Serve = Callable[[Generate], Awaitable[Sequence[Reply | Failed]]]
"""Serves one request; never raises but when it is cancelled."""


@dataclass(frozen=True, slots=True)
class _Started:
    request: Generate
    task: asyncio.Task[Sequence[Reply | Failed]]
    since: float


class Lookahead:
    """What one problem has started ahead (`Start`), and what the dropped part of it cost.

    A dropped request that had been served costs what its reply says. One that was cut off is
    counted as a speculative call with its seconds; a server tells nothing about it, so its tokens
    are unknown and in no count.

    Args:
        serve: how to serve a request.
    """

    __slots__ = ("_dropped", "_serve", "_started", "spent")

    def __init__(self, serve: Serve) -> None:
        self._serve = serve
        self._started: list[_Started] = []
        self._dropped: list[tuple[_Started, float]] = []
        self.spent = Ledger()

    async def aclose(self) -> None:
        """Drop whatever nobody took; `spent` is complete then."""
        while self._started:
            self._drop(self._started.pop())
        if self._dropped:
            await asyncio.wait([started.task for started, _ in self._dropped])
        for started, seconds in self._dropped:
            role, usage = started.request.role, _wasted(started.task, seconds)
            self.spent = self.spent.charge(role, usage)

    def start(self, request: Generate) -> None:
        """Begin to serve `request`."""
        task = asyncio.ensure_future(self._serve(request))
        self._started.append(_Started(request, task, time.perf_counter()))

    def take(self, request: Generate) -> Awaitable[Sequence[Reply | Failed]] | None:
        """The reply to come of an equal request, if one was started."""
        found = self._find(request)
        return None if found is None else found.task

    def drop(self, request: Generate) -> None:
        """Cancel a started request; one that is unknown is a mistake of the method.

        Raises:
            ValueError: no such request was started.
        """
        found = self._find(request)
        if found is None:
            raise ValueError(f"a method dropped a request that it had not started: {request!r}")
        self._drop(found)

    def _find(self, request: Generate) -> _Started | None:
        for place, started in enumerate(self._started):
            if started.request == request:
                return self._started.pop(place)
        return None

    def _drop(self, started: _Started) -> None:
        started.task.cancel()
        self._dropped.append((started, time.perf_counter() - started.since))


def _wasted(task: asyncio.Task[Sequence[Reply | Failed]], seconds: float) -> Usage:
    """What a dropped request cost, as far as it is known."""
    [reply] = [None] if task.cancelled() else task.result()
    if reply is None or isinstance(reply, Failed | Begun):
        return Usage(seconds=seconds, speculative_calls=1)
    usage = reply.usage
    return replace(usage, speculative_calls=1, speculative_tokens=usage.decoded_tokens)
