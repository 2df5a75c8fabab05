"""Sends one request and reads its reply, whole or as server-sent events."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from rsdecode.backends.openai_http.faults import Fault, Unreachable, check_status

if TYPE_CHECKING:
    from httpx2 import AsyncClient, Response

LARGEST_REPLY = 64 * 2**20
"""Bytes; a server that sends more has gone wrong."""
DONE = "[DONE]"
"""What OpenAI's streams end with."""


async def send(
    client: AsyncClient, method: str, url: str, body: dict[str, Any] | None = None
) -> Any:
    """Send one request; its reply's JSON.

    Raises:
        Fault: try again.
        Refusal: no use.
    """
    received = bytearray()
    async with _responding(client, method, url, body) as response:
        async for chunk in response.aiter_bytes():
            received += chunk
            _check_size(len(received))
    check_status(response.status_code, response.headers, bytes(received))
    return _parsed(received)


async def receive(
    client: AsyncClient, url: str, body: dict[str, Any], take: Callable[[Any], None]
) -> None:
    """Post one request that is answered by events, and call `take` with the JSON of each.

    Left early, by an error of `take` or by the cancellation of the task, it closes the connection.

    Raises:
        Fault: try again.
        Refusal: no use.
    """
    size = 0
    async with _responding(client, "POST", url, body) as response:
        if response.status_code >= 300:
            check_status(response.status_code, response.headers, await response.aread())
        async for line in response.aiter_lines():
            size += len(line)
            _check_size(size)
            field, _, data = line.partition(":")
            if data.strip() == DONE:
                continue  # to the end of the reply, so that the connection can be used again
            if field == "data":
                take(_parsed(data))
            elif field == "error":  # older versions of llama.cpp
                take({"error": _parsed(data)})


@asynccontextmanager
async def _responding(
    client: AsyncClient, method: str, url: str, body: dict[str, Any] | None
) -> AsyncGenerator[Response]:
    import httpx2

    try:
        async with client.stream(method, url, json=body) as response:
            yield response
    except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
        raise Unreachable(f"{_told(error)}: is the server running there?") from error
    except (httpx2.TransportError, httpx2.DecodingError) as error:
        raise Fault(_told(error)) from error


def _check_size(size: int) -> None:
    if size > LARGEST_REPLY:
        raise Fault(f"the reply is larger than {LARGEST_REPLY >> 20} MiB")


def _parsed(received: str | bytearray) -> Any:
    try:
        return json.loads(received)
    except (ValueError, RecursionError) as error:
        raise Fault(f"the reply is not JSON ({error})") from error


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".rstrip(": ")
