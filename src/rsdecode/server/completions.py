"""`POST /v1/completions`: texts that go on, and how likely texts are."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from rsdecode.core.types import RawPrompt
from rsdecode.server.accounts import TokenCounts, usage_record
from rsdecode.server.answers import EndPart, TextPart, TracePart
from rsdecode.server.chat import Collected, extension
from rsdecode.server.completion_request import CompletionRequest, raw_prompts
from rsdecode.server.errors import invalid, unsupported
from rsdecode.server.likelihood import measure
from rsdecode.server.logprobs import completion_logprobs
from rsdecode.server.service import Ask, Service
from rsdecode.server.sse import EventStream, StartedEvents, data, while_connected

router = APIRouter()
DEFAULT_TOKENS = 16
"""As OpenAI's API has it."""


@router.post("/v1/completions", response_model=None)
async def completions(body: CompletionRequest, request: Request) -> Response:
    """Continue texts."""
    service: Service = request.app.state.service
    ignored = body.refuse_unsupported()
    if body.suffix:
        raise unsupported("suffix", "texts are continued at their end")
    prompts = await raw_prompts(body.prompts, service)
    limit = DEFAULT_TOKENS if body.max_tokens is None else body.max_tokens
    head = {
        "id": f"cmpl-{request.scope['state']['request_id']}",
        "created": int(time.time()),
        "model": body.model,
        "system_fingerprint": service.fingerprint,
        "object": "text_completion",
    }
    if (body.echo and body.logprobs is not None) or not limit:
        return await while_connected(request, _measured(service, body, prompts, limit, head))
    service.check_room()
    asks = [
        service.understand(
            body,
            [prompt],
            request.headers,
            max_tokens=limit,
            parted=False,
            param="prompt",
            told=body.logprobs,
        )
        for prompt in prompts
    ]
    await service.check_told(asks[0])
    if len(asks) * asks[0].count > service.settings.max_samples + service.settings.queue:
        raise invalid("more answers than this server's queue holds: send fewer prompts", "prompt")
    if body.stream:
        return EventStream(await StartedEvents.of(_chunks(service, asks, body, head)))
    return await while_connected(request, _whole(service, asks, body, head, ignored))


async def _whole(
    service: Service,
    asks: Sequence[Ask],
    body: CompletionRequest,
    head: dict[str, Any],
    ignored: list[str],
) -> JSONResponse:
    wholes = await _all_of(service, asks)
    choices: list[dict[str, Any]] = []
    records: list[dict[str, Any]] = []
    for ask, whole in zip(asks, wholes, strict=True):
        before = ask.messages[0].content if body.echo else ""
        for place in range(ask.count):
            choices.append(
                {
                    "index": len(choices),
                    "text": before + whole.content[place],
                    "logprobs": None
                    if (top := ask.form.told) is None
                    else completion_logprobs(whole.tokens[place], len(before), top),
                    "finish_reason": whole.ends[place].finish_reason,
                }
            )
        records += whole.records(traced=bool(ask.form.trace))
    usage = _usage([[end.counts for end in whole.ends.values()] for whole in wholes])
    rsd = {**extension(asks[0], ignored), "choices": records}
    return JSONResponse({**head, "choices": choices, "usage": usage, "rsd": rsd})


async def _all_of(service: Service, asks: Sequence[Ask]) -> list[Collected]:
    """The answers to all prompts; one that fails ends the others."""

    async def collect(ask: Ask) -> Collected:
        whole = Collected(ask.count)
        async with aclosing(service.answer(ask)) as parts:
            async for part in parts:
                whole.add(part)
        return whole

    tasks = [asyncio.ensure_future(collect(ask)) for ask in asks]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _chunks(
    service: Service, asks: Sequence[Ask], body: CompletionRequest, head: dict[str, Any]
) -> AsyncGenerator[bytes]:
    """The answers to one prompt after the other."""
    counts: list[list[TokenCounts]] = []
    yield b": begun\n\n"
    for number, ask in enumerate(asks):
        first = number * ask.count
        counts.append([])
        offsets = [len(ask.messages[0].content) if body.echo else 0] * ask.count

        def chunk(
            choice: int,
            text: str,
            reason: str | None = None,
            logprobs: dict[str, Any] | None = None,
            **more: Any,
        ) -> bytes:
            told = {"index": choice, "text": text, "logprobs": logprobs, "finish_reason": reason}
            return data({**head, "choices": [told], **more})

        if body.echo:
            for choice in range(ask.count):
                yield chunk(first + choice, ask.messages[0].content)
        async with aclosing(service.answer(ask)) as parts:
            async for part in parts:
                match part:
                    case TextPart(choice=choice, text=text):
                        told = None
                        if (top := ask.form.told) is not None:
                            told = completion_logprobs(part.tokens, offsets[choice], top)
                        offsets[choice] += len(text)
                        yield chunk(first + choice, text, logprobs=told)
                    case TracePart(choice=choice, record=record):
                        event = {**record, "choice": first + choice}
                        yield data({**head, "choices": [], "rsd": event})
                    case EndPart(choice=choice, finish_reason=reason, record=record):
                        counts[-1].append(part.counts)
                        summary = {**record, **extension(ask, []), "choice": first + choice}
                        yield chunk(first + choice, "", reason, rsd=summary)
                    case _:
                        pass
    if body.include_usage:
        yield data({**head, "choices": [], "usage": _usage(counts)})


async def _measured(
    service: Service,
    body: CompletionRequest,
    prompts: Sequence[RawPrompt],
    limit: int,
    head: dict[str, Any],
) -> JSONResponse:
    """Likelihoods of the prompts by the target, and at most one token more."""
    service.check_ready()
    if not body.echo:
        raise unsupported(
            "max_tokens",
            "0 writes nothing; with echo and logprobs the target tells how likely it finds the "
            "prompt",
        )
    if limit > 1 or body.stream or (body.n or 1) > 1:
        raise unsupported("logprobs", "of a prompt; set max_tokens to 1 or 0, n to 1, stream off")
    top = body.logprobs
    found = await measure(service, prompts, top or 1)
    choices = [
        {
            "index": place,
            "text": one.text + (one.next_text if limit else ""),
            "logprobs": None if top is None else one.record(top, and_next=bool(limit)),
            "finish_reason": "length",
        }
        for place, one in enumerate(found)
    ]
    usage = _usage([[TokenCounts(one.tokens, one.cached, limit, 0)] for one in found])
    return JSONResponse({**head, "choices": choices, "usage": usage})


def _usage(counts: Sequence[Sequence[TokenCounts]]) -> dict[str, Any]:
    """Of several prompts together."""
    records = [usage_record(of_one) for of_one in counts]
    total: dict[str, Any] = {}
    for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
        total[name] = sum(record[name] for record in records)
    for name in ("prompt_tokens_details", "completion_tokens_details"):
        parts = [record[name] for record in records]
        total[name] = {key: sum(part[key] for part in parts) for key in parts[0]}
    return total
