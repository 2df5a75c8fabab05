"""`POST /v1/responses`: OpenAI's newer API, text in and text out."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from rsdecode.core.types import Message
from rsdecode.server.accounts import usage_record
from rsdecode.server.answers import EndPart, TextPart, TracePart
from rsdecode.server.chat import extension
from rsdecode.server.chat_request import ChatMessage, ContentPart, conversation
from rsdecode.server.effort import EffortName
from rsdecode.server.errors import ApiError, invalid, unsupported
from rsdecode.server.logprobs import MOST_TOP, chat_tokens
from rsdecode.server.requests import SamplingRequest, check_text
from rsdecode.server.service import Ask, Service
from rsdecode.server.sse import EventStream, StartedEvents, while_connected

router = APIRouter()
ALLOWED = frozenset({"truncation", "max_tool_calls"})
LOGPROBS = "message.output_text.logprobs"


class InputItem(BaseModel):
    """A message of the input; reasoning of earlier answers is taken and left out."""

    model_config = ConfigDict(extra="allow")

    type: str | None = None
    role: str | None = None
    content: str | list[ContentPart] | None = None


class ReasoningOptions(BaseModel):
    """How much is to be thought; summaries are not written, thoughts are told as they are."""

    model_config = ConfigDict(extra="allow")

    effort: EffortName | None = None


class ResponsesRequest(SamplingRequest):
    """The body of `POST /v1/responses`."""

    input: str | list[InputItem]
    instructions: str | None = None
    max_output_tokens: Annotated[int, Field(ge=1, le=1 << 31)] | None = None
    previous_response_id: str | None = None
    conversation: Any = None
    background: bool | None = None
    text: Any = None
    reasoning: ReasoningOptions | None = None
    include: list[str] | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=MOST_TOP)] | None = None

    @property
    def told(self) -> int | None:
        """How many likely tokens are told beside each of the answer's; None to tell of none."""
        if self.top_logprobs or LOGPROBS in (self.include or ()):
            return self.top_logprobs or 0
        return None

    @property
    def effort(self) -> str | None:
        """How much is to be thought; None for what the configuration says."""
        return None if self.reasoning is None else self.reasoning.effort

    def messages(self) -> tuple[Message, ...]:
        """The conversation.

        Raises:
            ApiError: there is nothing in it, or something that is no text.
        """
        if not self.input:
            raise invalid("'input' is empty: give the question, or at least one message", "input")
        messages: list[ChatMessage] = []
        if self.instructions:
            messages.append(ChatMessage(role="system", content=self.instructions))
        if isinstance(self.input, str):
            messages.append(ChatMessage(role="user", content=check_text(self.input, "input")))
        else:
            for place, item in enumerate(self.input):
                if item.type == "reasoning":
                    continue
                if item.type not in (None, "message") or item.role is None:
                    raise unsupported(f"input.{place}", f"an item of type {item.type!r} is no text")
                messages.append(ChatMessage(role=item.role, content=item.content))
        return conversation(messages)

    def refuse(self) -> None:
        """Refuse what cannot be honoured.

        Raises:
            ApiError: naming it.
        """
        kept = "this server keeps no responses; send the whole conversation"
        for name in ("previous_response_id", "conversation", "background"):
            if getattr(self, name):
                raise unsupported(name, kept)
        form: Any = self.text.get("format") if isinstance(self.text, dict) else None  # pyright: ignore[reportUnknownVariableType]
        if form not in (None, {"type": "text"}):
            raise unsupported("text.format", "steps of reasoning follow no grammar; ask for text")


@router.post("/v1/responses", response_model=None)
async def responses(body: ResponsesRequest, request: Request) -> Response:
    """Answer a conversation, in the form of OpenAI's responses."""
    service: Service = request.app.state.service
    ignored = body.refuse_unsupported(ALLOWED)
    body.refuse()
    if (body.n or 1) > 1 or body.stops:
        raise unsupported("n" if (body.n or 1) > 1 else "stop", "the API of responses has no such")
    messages = body.messages()
    service.check_room()
    ask = service.understand(
        body,
        messages,
        request.headers,
        max_tokens=body.max_output_tokens,
        param="input",
        told=body.told,
        effort=body.effort,
    )
    await service.check_told(ask)
    growing = _Response(body, ask, request.scope["state"]["request_id"], ignored)
    if body.stream:
        return EventStream(await StartedEvents.of(_events(service, growing)), last=b"")
    return await while_connected(request, _whole(service, growing))


class _Response:
    """A response while it grows; makes its events."""

    def __init__(
        self, body: ResponsesRequest, ask: Ask, request_id: str, ignored: list[str]
    ) -> None:
        self.ask = ask
        self._body = body
        self._id = request_id
        self._created = int(time.time())
        self._ignored = ignored
        self._items: list[dict[str, Any]] = []
        self._sequence = 0
        self._open = ""
        self._text = ""
        self._tokens: list[dict[str, Any]] = []
        self._end: EndPart | None = None

    def event(self, kind: str, **fields: Any) -> bytes:
        """An event with its number."""
        record = {"type": kind, "sequence_number": self._sequence, **fields}
        self._sequence += 1
        return f"event: {kind}\ndata: {json.dumps(record, separators=(',', ':'))}\n\n".encode()

    def text(self, part: TextPart) -> list[bytes]:
        """The events of new text."""
        kind = "reasoning" if part.thought else "message"
        events = self.close() if self._open not in ("", kind) else []
        if not self._open:
            events += self._begin(kind)
        self._text += part.text
        name = "reasoning_text" if part.thought else "output_text"
        tokens = chat_tokens(part.tokens)
        self._tokens += tokens
        more: dict[str, Any] = {} if part.thought else {"logprobs": tokens}
        events.append(self.event(f"response.{name}.delta", **self._place, delta=part.text, **more))
        return events

    def close(self) -> list[bytes]:
        """The events that end the present item."""
        if not self._open:
            return []
        thought, text = self._open == "reasoning", self._text
        item = self._item("completed")
        name = "reasoning_text" if thought else "output_text"
        more: dict[str, Any] = {} if thought else {"logprobs": self._tokens}
        events = [self.event(f"response.{name}.done", **self._place, text=text, **more)]
        part = item["content"][0]
        events.append(self.event("response.content_part.done", **self._place, part=part))
        index = len(self._items)
        events.append(self.event("response.output_item.done", output_index=index, item=item))
        self._items.append(item)
        self._open = self._text = ""
        return events

    def end(self, part: EndPart) -> list[bytes]:
        """The events that end the response."""
        self._end = part
        events = self.close()
        if not any(item["type"] == "message" for item in self._items):
            events += [*self._begin("message"), *self.close()]
        kind = "completed" if part.finish_reason == "stop" else "incomplete"
        return [*events, self.event(f"response.{kind}", response=self.record())]

    def record(self, error: ApiError | None = None) -> dict[str, Any]:
        """The response as it stands."""
        body, end = self._body, self._end
        status = "in_progress" if end is None else "completed"
        if end is not None and end.finish_reason != "stop":
            status = "incomplete"
        if error is not None:
            status = "failed"
        record: dict[str, Any] = {
            "id": f"resp_{self._id}",
            "object": "response",
            "created_at": self._created,
            "status": status,
            "error": None if error is None else {"code": "server_error", "message": str(error)},
            "incomplete_details": {"reason": "max_output_tokens"}
            if status == "incomplete"
            else None,
            "instructions": body.instructions,
            "max_output_tokens": body.max_output_tokens,
            "model": body.model,
            "output": list(self._items),
            "parallel_tool_calls": False,
            "previous_response_id": None,
            "reasoning": {"effort": body.effort, "summary": None},
            "store": False,
            "temperature": body.temperature,
            "text": {"format": {"type": "text"}},
            "tool_choice": "none",
            "tools": [],
            "top_logprobs": body.top_logprobs or 0,
            "top_p": body.top_p,
            "truncation": "disabled",
            "usage": None if end is None else _usage(end),
            "metadata": {},
        }
        if end is not None:
            record["rsd"] = {**extension(self.ask, self._ignored), "choices": [end.record]}
        return record

    @property
    def _place(self) -> dict[str, Any]:
        index = len(self._items)
        return {"item_id": self._item_id, "output_index": index, "content_index": 0}

    @property
    def _item_id(self) -> str:
        prefix = "rs" if self._open == "reasoning" else "msg"
        return f"{prefix}_{self._id}_{len(self._items)}"

    def _begin(self, kind: str) -> list[bytes]:
        self._open, self._text, self._tokens = kind, "", []
        item = self._item("in_progress")
        part: dict[str, Any] = item["content"][0]
        item["content"] = []
        index = len(self._items)
        return [
            self.event("response.output_item.added", output_index=index, item=item),
            self.event("response.content_part.added", **self._place, part=part),
        ]

    def _item(self, status: str) -> dict[str, Any]:
        shared = {"id": self._item_id, "type": self._open, "status": status}
        if self._open == "reasoning":
            content = [{"type": "reasoning_text", "text": self._text}]
            return {**shared, "summary": [], "content": content}
        part: dict[str, Any] = {"type": "output_text", "text": self._text}
        part |= {"annotations": [], "logprobs": self._tokens}
        return {**shared, "role": "assistant", "content": [part]}


async def _whole(service: Service, growing: _Response) -> JSONResponse:
    async with aclosing(service.answer(growing.ask)) as parts:
        async for part in parts:
            match part:
                case TextPart():
                    growing.text(part)
                case EndPart():
                    growing.end(part)
                case _:
                    pass
    return JSONResponse(growing.record())


async def _events(service: Service, growing: _Response) -> AsyncGenerator[bytes]:
    yield growing.event("response.created", response=growing.record())
    yield growing.event("response.in_progress", response=growing.record())
    try:
        async with aclosing(service.answer(growing.ask)) as parts:
            async for part in parts:
                match part:
                    case TextPart():
                        for event in growing.text(part):
                            yield event
                    case TracePart(record=record):
                        yield growing.event("response.rsd", rsd=record)
                    case EndPart():
                        for event in growing.end(part):
                            yield event
                    case _:
                        pass
    except ApiError as error:
        yield growing.event("response.failed", response=growing.record(error))


def _usage(end: EndPart) -> dict[str, Any]:
    usage = usage_record([end.counts])
    return {
        "input_tokens": usage["prompt_tokens"],
        "input_tokens_details": usage["prompt_tokens_details"],
        "output_tokens": usage["completion_tokens"],
        "output_tokens_details": usage["completion_tokens_details"],
        "total_tokens": usage["total_tokens"],
    }
