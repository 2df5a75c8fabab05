"""Problems that wait for others to end."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from itertools import count

from rsdecode.session.handle import Handle


class WaitingLine:
    """Lowest priority number first, then in order of arrival.

    A handle that was removed stays in the heap until its turn comes, and is skipped then.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Handle]] = []
        self._arrivals = count()
        self._present: dict[Handle, None] = {}

    def __len__(self) -> int:
        return len(self._present)

    def __iter__(self) -> Iterator[Handle]:
        return iter(self._present)

    def add(self, handle: Handle) -> None:
        """Let `handle` wait."""
        heapq.heappush(self._heap, (handle.job.priority, next(self._arrivals), handle))
        self._present[handle] = None

    def pop(self) -> Handle | None:
        """The next to start; None where nobody waits."""
        while self._heap:
            handle = heapq.heappop(self._heap)[-1]
            if handle in self._present:
                del self._present[handle]
                return handle
        return None

    def remove(self, handle: Handle) -> None:
        """Let `handle` wait no more."""
        del self._present[handle]
