"""What can go wrong with one try of a request, and what it means.

Fault           nothing usable came back; try again
├── Unreachable there is no connection to be had: the replica is dead
└── Busy        the server asks us to slow down (429, 503)
Refusal         the server will not serve this request (other 4xx); trying again is no use

None of them leaves the package: `transport.py` makes errors of the project of them.
"""

from __future__ import annotations

import email.utils
import json
import math
import time
from collections.abc import Mapping
from typing import Any, cast

LONGEST_MESSAGE = 400
LONGEST_PAUSE_S = 60.0
BUSY = (429, 503)
PASSING = (408, 409, 425)
"""Statuses below 500 that may be gone at the next try."""


class Fault(Exception):
    """A try failed in a way that another may not."""


class Unreachable(Fault):
    """There is no connection to be had."""


class Busy(Fault):
    """The server has too much to do.

    Attributes:
        retry_after_s: how long it wants to be left alone; None when it does not say.
        passes: it is about us, or has an end: not one of the tries after which we give up. A 503
            that says nothing may be for ever.
    """

    def __init__(self, status: int, message: str, retry_after_s: float | None) -> None:
        super().__init__(status, message, retry_after_s)
        self.retry_after_s = retry_after_s
        self.passes = status == 429 or retry_after_s is not None

    def __str__(self) -> str:
        return f"HTTP {self.args[0]}: {self.args[1]}"


class Refusal(Exception):
    """The server refuses the request as it is."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(status, message)
        self.status = status
        self.message = message

    def __str__(self) -> str:
        return f"HTTP {self.status}: {self.message}"

    @property
    def is_too_long(self) -> bool:
        """Whether the prompt, or what is to follow it, does not fit the model's context."""
        said = self.message.lower()
        about_context = "context" in said and any(w in said for w in ("length", "size", "window"))
        return self.status in (400, 413, 422) and (about_context or "max_model_len" in said)


def check_status(status: int, headers: Mapping[str, str], body: bytes) -> None:
    """Raise what a status other than success means."""
    if status < 300:
        return
    message = said_by_server(body)
    if status in BUSY:
        raise Busy(status, message, retry_after(headers.get("retry-after")))
    if status >= 500 or status in PASSING:
        raise Fault(f"HTTP {status}: {message}")
    raise Refusal(status, message)


def said_by_server(body: bytes) -> str:
    """The message in an error's body, at a length fit for people."""
    text = body.decode("utf-8", "replace")
    try:
        message = _message(json.loads(text)) or text
    except (ValueError, RecursionError):
        message = text
    message = " ".join(message.split()) or "no message"
    return message if len(message) <= LONGEST_MESSAGE else f"{message[:LONGEST_MESSAGE]} ..."


def _message(parsed: Any) -> str | None:
    """OpenAI's form is {"error": {"message": ...}}; others leave one of the levels out."""
    if not isinstance(parsed, dict):
        return parsed if isinstance(parsed, str) else None
    known = cast("dict[str, Any]", parsed)
    for key in ("error", "message", "detail"):
        if known.get(key) is not None:
            return _message(known[key]) or json.dumps(known[key])
    return None


def retry_after(value: str | None) -> float | None:
    """Seconds from a Retry-After header: a number, or a date."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except ValueError:
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
