"""`POST /v1/chat/completions`."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from rsdecode.server.accounts import usage_record
from rsdecode.server.answers import EndPart, Part, StartPart, TextPart, TracePart
from rsdecode.server.chat_request import ChatRequest, conversation
from rsdecode.server.logprobs import AnswerToken, chat_logprobs
from rsdecode.server.service import Ask, Service
from rsdecode.server.sse import EventStream, StartedEvents, data, while_connected

router = APIRouter()


@router.post("/v1/chat/completions", response_model=None)
async def chat(body: ChatRequest, request: Request) -> Response:
    """Answer a conversation."""
    service: Service = request.app.state.service
    ignored = body.refuse_unsupported()
    service.check_room()
    ask = service.understand(
        body,
        conversation(body.messages),
        request.headers,
        max_tokens=body.limit,
        parted=body.parts_thoughts,
        told=body.told,
        effort=body.reasoning_effort,
    )
    await service.check_told(ask)
    head = {
        "id": f"chatcmpl-{request.scope['state']['request_id']}",
        "created": int(time.time()),
        "model": body.model,
        "system_fingerprint": service.fingerprint,
    }
    if body.stream:
        chunks = _chunks(service, ask, head, include_usage=body.include_usage)
        return EventStream(await StartedEvents.of(chunks))
    return await while_connected(request, _whole(service, ask, head, ignored))


async def _whole(
    service: Service, ask: Ask, head: dict[str, Any], ignored: list[str]
) -> JSONResponse:
    whole = Collected(ask.count)
    async with aclosing(service.answer(ask)) as parts:
        async for part in parts:
            whole.add(part)
    choices = [
        {
            "index": place,
            "message": _message(whole.content[place], whole.thoughts[place]),
            "logprobs": None if ask.form.told is None else chat_logprobs(whole.tokens[place]),
            "finish_reason": whole.ends[place].finish_reason,
        }
        for place in range(ask.count)
    ]
    record = {
        **head,
        "object": "chat.completion",
        "choices": choices,
        "usage": usage_record([end.counts for end in whole.ends.values()]),
        "rsd": {**extension(ask, ignored), "choices": whole.records(traced=bool(ask.form.trace))},
    }
    return JSONResponse(record)


def _message(content: str, thoughts: str) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": content, "refusal": None}
    if thoughts:
        message |= {"reasoning": thoughts, "reasoning_content": thoughts}
    return message


def extension(ask: Ask, unknown: list[str]) -> dict[str, Any]:
    """What the extension says of the request as a whole."""
    record: dict[str, Any] = {
        "method": ask.chosen.name,
        "threshold": ask.chosen.threshold,
        "seed": ask.seed,
    }
    ignored = [*unknown, *ask.chosen.ignored]
    return {**record, "ignored": ignored} if ignored else record


class Collected:
    """The parts of answers, put together for a response that is not streamed.

    Attributes:
        content: of each answer.
        thoughts: of each answer.
        tokens: of each answer's content, where they are asked for.
        ends: how each ended.
    """

    def __init__(self, count: int) -> None:
        self.content = [""] * count
        self.thoughts = [""] * count
        self.tokens: list[list[AnswerToken]] = [[] for _ in range(count)]
        self.ends: dict[int, EndPart] = {}
        self._trace: list[list[dict[str, Any]]] = [[] for _ in range(count)]

    def add(self, part: Part) -> None:
        """Take a part."""
        match part:
            case StartPart():
                pass
            case TextPart(choice=choice, text=text, thought=thought):
                (self.thoughts if thought else self.content)[choice] += text
                self.tokens[choice] += part.tokens
            case TracePart(choice=choice, record=record):
                if record["event"] == "decided":
                    self._trace[choice].append(record)
            case EndPart(choice=choice):
                self.ends[choice] = part

    def records(self, *, traced: bool) -> list[dict[str, Any]]:
        """What the extension says of each answer."""
        listed = [self.ends[place].record for place in sorted(self.ends)]
        if not traced:
            return listed
        return [{**r, "trace": t} for r, t in zip(listed, self._trace, strict=True)]


async def _chunks(
    service: Service, ask: Ask, head: dict[str, Any], *, include_usage: bool
) -> AsyncGenerator[bytes]:
    ends: list[EndPart] = []
    shared = {**head, "object": "chat.completion.chunk"}
    if include_usage:
        shared["usage"] = None

    def chunk(
        choice: int,
        delta: dict[str, Any],
        reason: str | None = None,
        logprobs: dict[str, Any] | None = None,
        **more: Any,
    ) -> bytes:
        of_choice = {"index": choice, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
        return data({**shared, "choices": [of_choice], **more})

    async with aclosing(service.answer(ask)) as parts:
        async for part in parts:
            match part:
                case StartPart(choice=choice):
                    yield chunk(choice, {"role": "assistant", "content": ""})
                case TextPart(thought=True, text=text):
                    yield chunk(part.choice, {"reasoning": text, "reasoning_content": text})
                case TextPart(text=text):
                    told = None if ask.form.told is None else chat_logprobs(part.tokens)
                    yield chunk(part.choice, {"content": text}, logprobs=told)
                case TracePart(record=record):
                    yield data({**shared, "choices": [], "rsd": record})
                case EndPart(finish_reason=reason, record=record):
                    ends.append(part)
                    summary = {**record, **extension(ask, [])}
                    yield chunk(part.choice, {}, reason, rsd=summary)
    if include_usage:
        usage = usage_record([end.counts for end in ends])
        yield data({**shared, "choices": [], "usage": usage})
