"""Labels the solutions of one problem: equal ones once, and what they share is read once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

from rsdecode.core.types import Ledger
from rsdecode.training.labeller import Labelled, Sampled


class DistinctLabels:
    """Labels each distinct solution once; the others get the same labels, and cost nothing.

    Args:
        label: labels one solution.
        known: solutions that are labelled.
        in_turn: one after the other, so that a reward finds in its cache what it has read of the
            one before: the question, at least.
    """

    def __init__(
        self,
        label: Callable[[Sampled], Coroutine[Any, Any, Labelled]],
        known: Iterable[Labelled],
        *,
        in_turn: bool,
    ) -> None:
        self._label = label
        self._known = {one.sampled.steps: one for one in known if one.steps}
        self._turn = asyncio.Lock() if in_turn else None
        self._running: dict[tuple[str, ...], asyncio.Task[Labelled]] = {}

    async def label(self, sampled: Sampled) -> Labelled:
        """The labels of a solution."""
        if (known := self._known.get(sampled.steps)) is not None:
            return _again(known, sampled)
        if (running := self._running.get(sampled.steps)) is not None:
            return _again(await asyncio.shield(running), sampled)
        self._running[sampled.steps] = asyncio.create_task(self._in_turn(sampled))
        return await self._running[sampled.steps]

    async def _in_turn(self, sampled: Sampled) -> Labelled:
        async with AsyncExitStack() as stack:
            if self._turn is not None:
                await stack.enter_async_context(self._turn)
            return await self._label(sampled)


def _again(first: Labelled, sampled: Sampled) -> Labelled:
    """The labels of an equal solution."""
    return replace(first, sampled=sampled, written=0, ledger=Ledger())
