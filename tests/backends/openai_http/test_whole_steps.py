"""A server stops at every empty line; a step with code in it takes several requests."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

from rsdecode.backends.openai_http import Address, HttpSettings, ServedModel, Transport
from rsdecode.core.requests import Generate, Generated
from rsdecode.core.segment import PARAGRAPH, parse_boundary
from rsdecode.core.types import Context, FinishReason, Message, Role
from tests.backends.openai_http.local_server import Answer, LocalServer, Reply
from tests.backends.openai_http.scripted_server import NAME, vllm
from tests.text.tokenizers import byte_level

CODE = "## Step 1\n\nWe run:\n```python\na = 1\n\nb = 2\n\n\nprint(a + b)\n```\n\n"
ANSWER = f"{CODE}It prints \\boxed{{3}}."


def rest(question: str, role: str, written: int) -> str:
    """What follows the first `written` empty lines, as the scripted server counts them."""
    return "\n\n".join(ANSWER.split("\n\n")[written:])


def asked(boundary: str, limit: int = 512) -> Generate:
    context = Context((Message("user", "q"),))
    return Generate(Role.DRAFT, context, limit, parse_boundary(boundary))


async def written(request: Generate) -> tuple[Generated, int]:
    async with LocalServer(vllm("draft", rest)) as server:
        model = ServedModel(Transport(Address((server.url,), NAME), HttpSettings()))
        [reply] = await model.generate([request])
        model.close()
        asks = [body for path, body in server.requests if body.get("stop")]
    assert isinstance(reply, Generated)
    return reply, len(asks)


async def test_a_step_goes_on_where_the_server_stops_inside_code() -> None:
    reply, requests = await written(asked("separator"))
    assert (reply.segment.text, reply.finish_reason) == (CODE, FinishReason.STOP)
    assert reply.segment.text == PARAGRAPH.split(ANSWER)[0]
    assert reply.usage.calls == requests == CODE.count("\n\n")
    assert reply.usage.decoded_tokens == len(CODE.split())


async def test_a_separator_of_ones_own_ends_it_at_once() -> None:
    reply, requests = await written(asked("separator:\\n\\n"))
    assert (reply.segment.text, requests) == ("## Step 1\n\n", 1)


async def test_the_limit_of_a_step_holds_over_its_requests() -> None:
    reply, _ = await written(asked("separator", 7))
    assert reply.finish_reason is FinishReason.STEP_LIMIT
    assert CODE.startswith(reply.segment.text)


def by_tokens(tokenizer: Any, asks: list[tuple[int, ...]]) -> Answer:
    """vLLM that is sent token ids, and writes those of `ANSWER`: it stops behind the token with
    which the stop string is complete."""
    ids: list[int] = tokenizer.encode(ANSWER, add_special_tokens=False)

    async def answer(path: str, body: dict[str, Any]) -> Reply:
        if path == "/v1/models":
            return Reply(200, {"data": [{"id": NAME, "owned_by": "vllm", "max_model_len": 999}]})
        prompt, stops = tuple(body["prompt"]), body.get("stop", [])
        begun = next((n for n in range(len(ids), 0, -1) if list(prompt[-n:]) == ids[:n]), 0)
        if stops:
            asks.append(prompt)
        new: list[int] = []
        stop = None
        while stop is None and len(new) < body["max_tokens"] and begun + len(new) < len(ids):
            new.append(ids[begun + len(new)])
            stop = next((s for s in stops if s in tokenizer.decode(new)), None)
        done = stop or begun + len(new) == len(ids)
        choice = {"text": tokenizer.decode(new), "token_ids": new, "stop_reason": stop}
        usage = {"prompt_tokens": len(prompt), "completion_tokens": len(new)}
        choice["finish_reason"] = "stop" if done else "length"
        return Reply(200, {"choices": [choice], "usage": usage})

    return answer


async def test_code_stays_whole_where_the_server_is_sent_tokens() -> None:
    tokenizer, asks = byte_level(), list[tuple[int, ...]]()
    async with LocalServer(by_tokens(tokenizer, asks)) as server:
        transport = Transport(Address((server.url,), NAME), HttpSettings())
        model = ServedModel(transport, tokenizer=tokenizer)
        [first] = await model.generate([asked("separator")])
        assert isinstance(first, Generated)
        pieces = len(asks)
        behind = asked("separator").context.followed_by(first.segment)
        [last] = await model.generate([replace(asked("separator"), context=behind)])
        model.close()
    assert isinstance(last, Generated)
    assert (first.segment.text, first.finish_reason) == (CODE, FinishReason.STOP)
    assert first.segment.text + last.segment.text == ANSWER
    assert last.finish_reason is FinishReason.EOS
    assert first.usage.calls == pieces > 1
    assert first.segment.tokens is not None
    whole = tokenizer.encode(ANSWER, add_special_tokens=False)
    assert list(first.segment.tokens.ids) == whole[: first.usage.decoded_tokens]
    for earlier, later in pairwise(asks):  # each piece is read where it was written
        assert later[: len(earlier)] == earlier
