"""Make token ids of requests without keeping the event loop waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from rsdecode.core.errors import RequestError, RsdError
from rsdecode.core.requests import Failed
from rsdecode.core.types import Message, Segment

Request = TypeVar("Request")
Rendered = TypeVar("Rendered")

SHORT = 8_000
"""Characters that are tokenised where they are, in 5 to 15 ms; more of them in a thread."""


def characters(
    messages: Iterable[Message], answer: Iterable[Segment] = (), vocabulary: str = ""
) -> int:
    """How much text there is to tokenise; segments in `vocabulary` are tokens already."""
    texts = sum(len(message.content) for message in messages)
    return texts + sum(len(s.text) for s in answer if s.ids_in(vocabulary) is None)


async def render_all(
    render: Callable[[Request], Rendered],
    requests: Sequence[Request],
    length: Callable[[Request], int],
) -> list[Rendered | Failed]:
    """What `render` makes of each request; one that cannot be rendered fails alone.

    Args:
        render: may be called in another thread.
        requests: what is to be rendered.
        length: characters of a request.
    """

    def rendered() -> list[Rendered | Failed]:
        return [_or_failed(render, request) for request in requests]

    if sum(map(length, requests)) < SHORT:
        return rendered()
    return await asyncio.to_thread(rendered)


def _or_failed(render: Callable[[Request], Rendered], request: Request) -> Rendered | Failed:
    try:
        return render(request)
    except RsdError as error:
        return Failed(error)
    except Exception as error:  # noqa: BLE001  tokenizers and templates raise errors of their own
        message = f"the request cannot be rendered: {type(error).__name__}: {error}"
        return Failed(RequestError(message))
