"""How patient the client is, and how much it asks at once."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """Times are in seconds.

    Attributes:
        timeout_s: one try of a request at most, waiting at the server included.
        deadline_s: a request with all its tries.
        attempts: tries of a request, a round over all replicas being one; replies that ask us to
            slow down are not counted.
        backoff_s: pause before the second try; it doubles from try to try, with jitter.
        rest_s: how long a dead replica is left alone at first; it doubles while it stays dead.
        concurrency: requests at one replica at most; 429 and 503 make it less for a while.
    """

    timeout_s: float = 300.0
    deadline_s: float = 1800.0
    attempts: int = 6
    backoff_s: float = 0.5
    rest_s: float = 5.0
    concurrency: int = 256

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not 0 < value < math.inf:
                raise ValueError(f"http {field.name} {value!r} must be a number above 0")
