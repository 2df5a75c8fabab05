"""Streamed replies, put together into what the same request would have been answered unstreamed.

So there is one reading of replies (`dialects.py`), whichever way they came.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, cast

from rsdecode.backends.openai_http.faults import Fault
from rsdecode.backends.openai_http.reading import is_list, optional, token_ids

Tokenize = Callable[[str], tuple[int, ...]]
"""The ids of a text, by the model's own tokenizer."""
BROKEN = "\ufffd"
"""What stands for bytes that are no character."""


class Part(NamedTuple):
    """What one event of a stream brought: text, and its token ids where the server tells them."""

    text: str
    ids: tuple[int, ...] | None


class Stream(Protocol):
    """The events of one streamed reply, as they come."""

    def add(self, event: object) -> Part:
        """Take the next event.

        Raises:
            Fault: it tells of an error.
        """
        ...

    def reply(self) -> object:
        """The reply as it would have been unstreamed; incomplete if the stream broke off."""
        ...


class OpenAIStream:
    """Chunks of the completions or the chat route.

    Args:
        chat: whether they are of the chat route.
    """

    def __init__(self, *, chat: bool) -> None:
        self._chat = chat
        self._texts: dict[str, str] = {}
        self._told: dict[str, Any] = {}
        self._ids: tuple[int, ...] | None = None
        self._usage: object = None

    def add(self, event: object) -> Part:
        """See `Stream`."""
        _check(event)
        self._usage = optional(event, "usage") or self._usage
        choice = optional(event, "choices", 0)
        if choice is None:
            return Part("", None)
        source = optional(choice, "delta") if self._chat else choice
        fields = ("content", "reasoning", "reasoning_content") if self._chat else ("text",)
        new = {field: optional(source, field) or "" for field in fields}
        for field, text in new.items():
            if text:
                self._texts[field] = self._texts.get(field, "") + str(text)
        ids = token_ids(optional(choice, "token_ids"))
        if ids is not None:
            self._ids = (*(self._ids or ()), *ids)
        for key in ("finish_reason", "stop_reason", "matched_stop"):
            told = optional(choice, key)
            if told is not None:
                self._told[key] = told
        return Part(new[fields[0]], ids)

    def reply(self) -> object:
        """See `Stream`."""
        choice = dict(self._told)
        if self._chat:
            choice["message"] = self._texts
        else:
            choice["text"] = self._texts.get("text", "")
        if self._ids is not None:
            choice["token_ids"] = list(self._ids)
        return {"choices": [choice], "usage": self._usage}


class LlamaCppStream:
    """Events of llama.cpp's own route.

    An event that completes a character brings the last of its tokens alone. The others are those
    that the tokenizer has for the character, if that has as many tokens and ends with the one that
    was told; else the reply's ids are not known. Of a character that the limit cuts off nothing is
    told, neither text nor tokens.

    Args:
        tokenize: by the model's tokenizer; None where there is none here.
    """

    def __init__(self, tokenize: Tokenize | None = None) -> None:
        self._tokenize = tokenize
        self._text = ""
        self._ids: list[int] | None = []
        self._last: object = None

    def add(self, event: object) -> Part:
        """See `Stream`."""
        _check(event)
        self._last = event
        text = optional(event, "content") or ""
        self._text += text
        ids = token_ids(optional(event, "tokens")) or ()
        if self._ids is None or not ids:
            return Part(text, None)
        written = optional(event, "tokens_predicted")
        missing = written - len(self._ids) - len(ids) if isinstance(written, int) else 0
        if missing > 0:
            ids = self._whole(text, ids, missing)
        if not ids:
            self._ids = None
            return Part(text, None)
        self._ids += ids
        return Part(text, ids)

    def reply(self) -> object:
        """See `Stream`."""
        if not isinstance(self._last, Mapping):
            return self._last
        last = cast("Mapping[str, object]", self._last)
        return {**last, "content": self._text, "tokens": self._ids or []}

    def _whole(self, text: str, told: tuple[int, ...], missing: int) -> tuple[int, ...]:
        if self._tokenize is None or not text or BROKEN in text:
            return ()
        ids = self._tokenize(text)
        fits = len(ids) == missing + len(told) and ids[-len(told) :] == told
        return ids if fits else ()


def _check(event: object) -> None:
    error = optional(event, "error")
    if error is not None:
        said = optional(error, "message") or error
        raise Fault(f"the server broke off: {str(said)[:200]}")
    if is_list(event):
        raise Fault(f"the stream has a list in place of an event: {str(event)[:80]}")
