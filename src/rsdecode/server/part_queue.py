"""Parts of a request's answers on their way to its client."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from rsdecode.server.answers import Part, TextPart
from rsdecode.server.errors import ApiError

GAP_S = 0.02
"""Text is given out at most so often: a model that writes faster than anybody reads would
otherwise take a write to a socket, and a record in JSON, for each of its tokens."""


class PartQueue:
    """Parts of all answers of a request, in the order in which they came; one reader.

    Text that comes within `GAP_S` of the text before is kept until then, and that of one answer
    is put together. Whatever is not text goes out at once, with all that came before it.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._unread: list[Part | ApiError] = []
        self._texts: dict[int, int] = {}
        """Where in `_unread` the last text of an answer is."""
        self._only_text = True
        self._next_text = 0.0
        self._reader: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def put(self, part: Part | ApiError) -> None:
        """Add a part."""
        if not isinstance(part, TextPart):
            self._unread.append(part)
            self._only_text = False
            self._texts.clear()
        elif (last := self._last_text(part)) is not None:
            text, tokens = last.text + part.text, last.tokens + part.tokens
            self._unread[self._texts[part.choice]] = replace(last, text=text, tokens=tokens)
        else:
            self._texts[part.choice] = len(self._unread)
            self._unread.append(part)
        if self._due():
            self._wake()
        elif self._timer is None:
            self._timer = self._loop.call_at(self._next_text, self._gap_is_over)

    async def take(self) -> list[Part | ApiError]:
        """All parts that are there, at least one; waits for it."""
        while not self._due():
            self._reader = self._loop.create_future()
            await self._reader
        self._stop_timer()
        parts, self._unread, self._only_text = self._unread, [], True
        self._texts.clear()
        if any(isinstance(part, TextPart) for part in parts):
            self._next_text = self._loop.time() + GAP_S
        return parts

    def _last_text(self, part: TextPart) -> TextPart | None:
        """The text that a new one continues, unread."""
        last = self._unread[self._texts[part.choice]] if part.choice in self._texts else None
        return last if isinstance(last, TextPart) and last.thought == part.thought else None

    def _due(self) -> bool:
        """Whether there is something to give out now."""
        if not self._unread:
            return False
        return not self._only_text or self._loop.time() >= self._next_text

    def _gap_is_over(self) -> None:
        """Called by a timer, which may be early: uvloop's count whole milliseconds."""
        self._next_text = 0.0
        self._wake()

    def _wake(self) -> None:
        self._stop_timer()
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
