"""The reference driver: one problem, one list of requests after the other."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import cast

from rsdecode.core.errors import Cancelled
from rsdecode.core.protocols import Models
from rsdecode.core.requests import Decided, Decoding, Reply, Request
from rsdecode.core.types import Step, Trajectory
from rsdecode.session.answering import answer, first_failure, lookahead_for
from rsdecode.session.lookahead import Ahead

Watcher = Callable[[Step], None]
"""Called with every step as it is decided."""


def drive(decoding: Decoding, models: Models, watch: Watcher | None = None) -> Trajectory:
    """Run a method to its end, answering each list of requests before asking for the next."""
    with asyncio.Runner() as runner:
        return runner.run(advance(decoding, models, watch))


async def advance(decoding: Decoding, models: Models, watch: Watcher | None = None) -> Trajectory:
    """Run a method to its end, on the running event loop.

    A failed request is raised inside the method, which keeps the steps decided so far.
    """
    started = time.perf_counter()
    async with lookahead_for(models) as ahead:
        trajectory = await run_method(decoding, models, ahead, watch)
    ledger = trajectory.ledger + ahead.spent
    return replace(trajectory, ledger=ledger, seconds=time.perf_counter() - started)


async def run_method(
    decoding: Decoding, models: Models, ahead: Ahead, watch: Watcher | None
) -> Trajectory:
    """Run a method to its end; the caller adds what `ahead` has spent, and the time."""
    try:
        requests = next(decoding)
        while True:
            show(requests, watch)
            replies = await answer(requests, models, ahead)
            if error := first_failure(replies):
                requests = decoding.throw(error)
            else:
                requests = decoding.send(cast(Sequence[Reply], replies))
    except StopIteration as end:
        trajectory: Trajectory = end.value
        return trajectory


def abandon(decoding: Decoding, reason: str) -> Trajectory:
    """End a method that is waiting for replies nobody will give; its steps so far are kept."""
    try:
        if inspect.getgeneratorstate(decoding) == inspect.GEN_CREATED:
            next(decoding)
        decoding.throw(Cancelled(reason))
    except StopIteration as end:
        trajectory: Trajectory = end.value
        return trajectory
    decoding.close()
    raise RuntimeError(f"a decoding method must return when it is cancelled ({reason})")


def show(requests: Sequence[Request], watch: Watcher | None) -> None:
    """Pass on the news among the requests."""
    if watch is not None:
        for request in requests:
            if isinstance(request, Decided):
                watch(request.step)
