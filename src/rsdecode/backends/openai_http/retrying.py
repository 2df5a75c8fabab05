"""When a request is tried again, how long it waits before, and when it is given up.

The loop is tenacity's. Its attempts are rounds: within one, a replica that fails hands the request
to the next that seems alive at once. So several replicas that are all down are waited for as long
as one would be.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from rsdecode.backends.openai_http.faults import LONGEST_PAUSE_S, Busy, Fault, Unreachable
from rsdecode.backends.openai_http.settings import HttpSettings

if TYPE_CHECKING:
    from tenacity import AsyncRetrying, RetryCallState
    from tenacity.wait import wait_base

FIRST_CONTACT_S = 2.0
"""How long connections are tried to servers that have never answered: most likely their address is
wrong, or nobody has started them."""


class Patience:
    """The patience with one request.

    Args:
        settings: how many rounds, how long between them, and how long in all.
        now: time of the event loop at which the request was made.
        known: whether any of the servers has ever answered.
    """

    def __init__(self, settings: HttpSettings, now: float, known: Callable[[], bool]) -> None:
        self.deadline = now + settings.deadline_s
        self._first_contact = now + FIRST_CONTACT_S
        self._known = known
        self._settings = settings
        self._counted = 0
        self._too_late = False

    def retrying(self) -> AsyncRetrying:
        """Calls what it is given until that succeeds, or the patience has come to its end."""
        from tenacity import AsyncRetrying, retry_if_exception_type

        return AsyncRetrying(
            sleep=asyncio.sleep,
            retry=retry_if_exception_type(Fault),
            wait=pauses(self._settings.backoff_s),
            stop=self._ends,
            reraise=True,
        )

    @property
    def why_ended(self) -> str:
        """What the patience came to its end with."""
        if self._too_late:
            return f"{self._settings.deadline_s:g} s deadline"
        return "1 try" if self._counted == 1 else f"{self._counted} tries"

    def _ends(self, state: RetryCallState) -> bool:
        """Whether the last fault was one too many, or the next try would come too late."""
        fault = None if state.outcome is None else state.outcome.exception()
        busy = fault if isinstance(fault, Busy) else None
        self._counted += busy is None or not busy.passes
        if self._counted >= self._settings.attempts:
            return True
        asked = 0.0 if busy is None else busy.retry_after_s or 0.0
        next_try = asyncio.get_running_loop().time() + max(state.upcoming_sleep, asked)
        if isinstance(fault, Unreachable) and not self._known():
            return next_try >= self._first_contact
        self._too_late = next_try >= self.deadline
        return self._too_late


def pauses(base_s: float) -> wait_base:
    """`base_s`, doubled from round to round, of which one half is left to chance."""
    from tenacity import wait_exponential, wait_random_exponential

    half, longest = base_s / 2.0, LONGEST_PAUSE_S / 2.0
    return wait_exponential(half, longest) + wait_random_exponential(half, longest)
