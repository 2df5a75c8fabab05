"""Whether the models answer."""

from __future__ import annotations

import time


class Health:
    """Remembers the last failure of a model until an answer is given again.

    Attributes:
        failure: what a model said when it failed last; None while all is well.
    """

    def __init__(self) -> None:
        self.failure: str | None = None
        self.tried = 0.0

    def worked(self) -> None:
        """An answer came to its end."""
        self.failure = None

    def broke(self, failure: str) -> None:
        """A model failed."""
        self.failure = failure

    def should_try(self, pause_s: float) -> bool:
        """Whether it is time to see if a failed model is back, at most every `pause_s` seconds."""
        now = time.monotonic()
        if self.failure is None or now - self.tried < pause_s:
            return False
        self.tried = now
        return True
