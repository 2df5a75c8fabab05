"""Replicas of one served model: which of them a session's requests go to."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

from rsdecode.backends.openai_http.faults import LONGEST_PAUSE_S
from rsdecode.backends.openai_http.limiter import Limiter

PATIENCE = 3
"""Failures in a row after which a replica that still accepts connections counts as dead."""


@dataclass(slots=True, eq=False)
class Replica:
    """One server.

    Attributes:
        limiter: of the requests at it.
        failures: tries in a row that failed.
        rests_until: time of the event loop until which it counts as dead.
    """

    url: str
    limiter: Limiter
    rest_s: float
    failures: int = 0
    rests_until: float = 0.0
    _failed_at: float = -math.inf

    def failed(self, started: float, now: float, *, unreachable: bool) -> None:
        """A try failed; a replica that does so for long is left alone for a while.

        Tries that were under way together when one of them failed are one failure.
        """
        if started <= self._failed_at:
            return
        self._failed_at = now
        self.failures += 1
        if unreachable or self.failures >= PATIENCE:
            rests = self.rest_s * 2.0 ** min(self.failures - 1, 16)
            self.rests_until = now + min(LONGEST_PAUSE_S, rests)

    def served(self) -> None:
        """A try succeeded: it is alive."""
        self.failures, self.rests_until = 0, 0.0
        self.limiter.speed_up()


def choose(replicas: Sequence[Replica], session: str, now: float) -> Replica:
    """The session's replica, by rendezvous hashing.

    All requests of a session go to one replica, whose cache holds their prefix. While that one is
    dead they all go to the session's second choice: only the sessions of a dead replica move. When
    all are dead, the one whose rest ends first is tried.
    """
    alive = [replica for replica in replicas if replica.rests_until <= now]
    if not alive:
        return min(replicas, key=lambda replica: replica.rests_until)
    return max(alive, key=lambda replica: _score(replica.url, session))


def _score(url: str, session: str) -> bytes:
    return hashlib.blake2b(f"{url}\n{session}".encode(errors="replace"), digest_size=8).digest()
