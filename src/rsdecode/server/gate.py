"""What every request passes: its id, its key, the size of its body, and a line in the log."""

from __future__ import annotations

import json
import logging
import re
import secrets
import time
from collections.abc import Callable
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rsdecode.server.errors import ApiError, invalid
from rsdecode.server.keys import Keys
from rsdecode.server.metrics import Metrics
from rsdecode.server.tracing import Tracing

logger = logging.getLogger("rsdecode.server.requests")
OPEN = frozenset({"/", "/health", "/ready", "/favicon.ico", "/rsd/info"})
"""Paths that need no key, and the page's files."""
UNTRACED = frozenset({"/health", "/ready", "/metrics"})
"""Asked every few seconds by machines."""
OPEN_BELOW = "/page/"
_ID = re.compile(r"[\w.:-]{1,128}")


class Gate:
    """ASGI middleware in front of all endpoints.

    Args:
        app: behind it.
        keys: that let clients in.
        max_body: bytes of a request's body.
        metrics: that count requests.
        known: whether a path is one of ours, for metrics.
        tracing: makes a span for each request; None: no spans are made.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        keys: Keys,
        max_body: int,
        metrics: Metrics,
        known: Callable[[str], str],
        tracing: Tracing | None = None,
    ) -> None:
        self._app = app
        self._keys = keys
        self._max_body = max_body
        self._metrics = metrics
        self._known = known
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        visit = _Visit(scope)
        if self._tracing is None or visit.path in UNTRACED:
            await self._visited(visit, scope, receive, send)
            return
        path = self._known(visit.path)
        with self._tracing.request(visit.method, path, visit.id, visit.headers) as span:
            try:
                await self._visited(visit, scope, receive, send)
            finally:
                span.end(visit.status, visit.label)

    async def _visited(self, visit: _Visit, scope: Scope, receive: Receive, send: Send) -> None:
        state: dict[str, Any] = scope.setdefault("state", {})
        state["request_id"] = visit.id

        async def answer(message: Message) -> None:
            if visit.too_big:
                return  # whatever the application makes of half a body
            if message["type"] == "http.response.start":
                visit.status = message["status"]
                headers = [*message.get("headers", ()), (b"x-request-id", visit.id.encode())]
                message = {**message, "headers": headers}
            await send(message)

        try:
            visit.label = self._let_in(visit)
            self._check_length(visit)
            await self._app(scope, self._bounded(receive, visit), answer)
            if visit.too_big:
                visit.too_big = False
                raise self._too_big()
        except ApiError as error:
            await _refuse(error, answer)
        finally:
            self._metrics.requests.labels(self._known(visit.path), str(visit.status)).inc()
            logger.info("request", extra={"fields": visit.fields()})

    def _let_in(self, visit: _Visit) -> str | None:
        """The label of the client's key."""
        path = visit.path
        if not self._keys or path in OPEN or path.startswith(OPEN_BELOW) or visit.preflight:
            return None
        scheme, _, key = visit.headers.get("authorization", "").partition(" ")
        key = key.strip() if scheme.lower() == "bearer" else visit.headers.get("x-api-key", "")
        if not key:
            raise _unauthorized("You didn't provide an API key: send Authorization: Bearer KEY")
        if (label := self._keys.label_of(key)) is None:
            raise _unauthorized("Incorrect API key provided")
        return label

    def _check_length(self, visit: _Visit) -> None:
        length = visit.headers.get("content-length", "0")
        if not length.isdecimal():
            raise invalid(f"Content-Length {length[:20]!r} is no number")
        if int(length) > self._max_body:
            raise self._too_big()

    def _bounded(self, receive: Receive, visit: _Visit) -> Receive:
        """A body that came without its length is counted as it comes."""
        read = 0

        async def bounded() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self._max_body:
                visit.too_big = True
                return {"type": "http.disconnect"}
            return message

        return bounded

    def _too_big(self) -> ApiError:
        message = f"the body is larger than {self._max_body} bytes: send less"
        return ApiError(413, message, code="request_too_large")


class _Visit:
    """A request, for its line in the log."""

    def __init__(self, scope: Scope) -> None:
        self.headers = {
            name.decode("latin-1").lower(): value.decode("latin-1")
            for name, value in scope["headers"]
        }
        given = self.headers.get("x-request-id", "")
        self.id = given if _ID.fullmatch(given) else secrets.token_hex(12)
        self.path: str = scope["path"]
        self.method: str = scope["method"]
        self.preflight = self.method == "OPTIONS" and "origin" in self.headers
        self.client = (scope.get("client") or ("",))[0]
        self.status = 499
        """Until there is an answer: the client has left."""
        self.label: str | None = None
        self.too_big = False
        self._scope = scope
        self._started = time.perf_counter()

    def fields(self) -> dict[str, Any]:
        """What the log says. No text of the client's: neither keys, nor questions, nor queries."""
        told: dict[str, Any] = self._scope["state"].get("told", {})
        return {
            "request_id": self.id,
            "method": self.method,
            "path": self.path[:200],
            "status": self.status,
            "seconds": round(time.perf_counter() - self._started, 6),
            "client": self.client,
            "key": self.label,
            **told,
        }


def _unauthorized(message: str) -> ApiError:
    headers = {"WWW-Authenticate": "Bearer"}
    return ApiError(401, message, "invalid_request_error", None, "invalid_api_key", headers)


async def _refuse(error: ApiError, send: Send) -> None:
    body = json.dumps(error.body).encode()
    given = {"content-type": "application/json", "content-length": str(len(body)), **error.headers}
    headers = [(name.lower().encode(), value.encode()) for name, value in given.items()]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
