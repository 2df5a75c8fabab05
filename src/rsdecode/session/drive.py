"""Runs one decoding method: answers each list of requests before it asks for the next."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import cast

from rsdecode.core.errors import Cancelled
from rsdecode.core.protocols import Models
from rsdecode.core.requests import Announce, Decoding, Reply, Request
from rsdecode.core.types import Step, Trajectory
from rsdecode.session.answering import Answering, first_failure

OnStep = Callable[[Step], None]
"""Called with every step as it is decided."""


def drive(decoding: Decoding, models: Models, on_step: OnStep | None = None) -> Trajectory:
    """Run a method to its end, and wait for it; also where an event loop is running already."""

    def run() -> Trajectory:
        with asyncio.Runner() as runner:
            return runner.run(advance(decoding, models, on_step))

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return run()
    with ThreadPoolExecutor(1, thread_name_prefix="rsdecode-drive") as other:
        return other.submit(run).result()


async def advance(decoding: Decoding, models: Models, on_step: OnStep | None = None) -> Trajectory:
    """Run a method to its end, on the running event loop.

    A failed request is raised inside the method, which keeps the steps decided so far.
    """
    started = time.perf_counter()
    async with Answering(models) as answering:
        trajectory = await run_method(decoding, answering, on_step)
    ledger = trajectory.ledger + answering.spent_ahead
    return replace(trajectory, ledger=ledger, seconds=time.perf_counter() - started)


async def run_method(
    decoding: Decoding, answering: Answering, on_step: OnStep | None = None
) -> Trajectory:
    """Run a method to its end; the caller adds `answering.spent_ahead`, and the time."""
    try:
        requests = next(decoding)
        while True:
            if on_step is not None:
                _tell(requests, on_step)
            replies = await answering.answer(requests)
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


def _tell(requests: Sequence[Request], on_step: OnStep) -> None:
    for request in requests:
        if isinstance(request, Announce):
            on_step(request.step)
