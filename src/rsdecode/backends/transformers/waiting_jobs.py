"""The order in which waiting jobs get their slots."""

from __future__ import annotations

import heapq
from collections import deque

from rsdecode.backends.transformers.jobs import Decode
from rsdecode.backends.transformers.tickets import Ticket


class WaitingJobs:
    """Those that may run longest go first, so that the last to end do not run almost alone.

    No job goes more than a batch later than in the order of arrival. Adding and taking cost
    O(log n).

    Args:
        batch: rows of a batch.
    """

    def __init__(self, batch: int) -> None:
        self._batch = batch
        self._by_arrival: deque[tuple[int, Ticket]] = deque()
        self._by_length: list[tuple[int, int, Ticket]] = []
        self._present: set[int] = set()
        self._arrived = 0
        self._taken = 0

    def __len__(self) -> int:
        return len(self._present)

    def add(self, ticket: Ticket) -> None:
        """Let a job wait."""
        heapq.heappush(self._by_length, (-_longest(ticket), self._arrived, ticket))
        self._by_arrival.append((self._arrived, ticket))
        self._present.add(self._arrived)
        self._arrived += 1

    def take(self) -> Ticket | None:
        """The next job; None where none waits."""
        if not self._present:
            return None
        while self._by_arrival[0][0] not in self._present:
            self._by_arrival.popleft()
        place, ticket = self._by_arrival[0]
        if self._taken < place + self._batch:
            while self._by_length[0][1] not in self._present:
                heapq.heappop(self._by_length)
            _, place, ticket = heapq.heappop(self._by_length)
        self._present.remove(place)
        self._taken += 1
        if len(self._by_length) > 2 * len(self._present) + self._batch:
            self._by_length = [entry for entry in self._by_length if entry[1] in self._present]
            heapq.heapify(self._by_length)
        return ticket


def _longest(ticket: Ticket) -> int:
    """Tokens that a job may write."""
    return int(ticket.job.max_tokens) if isinstance(ticket.job, Decode) else 0
