from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import tracemalloc
from collections import Counter
from typing import Any

import pytest

from rsdecode.backends.scripted import ScriptedModel
from rsdecode.core.errors import RequestError
from rsdecode.core.protocols import Models
from rsdecode.core.requests import Generate
from tests.server.conftest import (
    ANSWER,
    DRAFT,
    QUESTION,
    TARGET,
    Server,
    Start,
    asked,
    scripted,
    writer,
)

REQUESTS = 10_000 if "RSD_SLOW" in os.environ else 500


def events_of(text: str) -> list[dict[str, Any]]:
    lines = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


async def streamed(server: Server, **body: Any) -> list[dict[str, Any]]:
    response = await server.chat(stream=True, **body)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    return events_of(response.text)


def content_of(events: list[dict[str, Any]], choice: int = 0, field: str = "content") -> str:
    return "".join(
        c["delta"].get(field) or "" for e in events for c in e["choices"] if c["index"] == choice
    )


async def test_an_answer(start: Start) -> None:
    record = (await (await start()).chat(seed=3)).json()
    [choice] = record["choices"]
    assert choice["message"]["content"] == ANSWER
    assert choice["finish_reason"] == "stop"
    assert record["object"] == "chat.completion"
    assert record["model"] == "rsd"
    [finished] = record["rsd"]["choices"]
    assert finished["answer"] == "4"
    assert finished["acceptance"] == pytest.approx(2 / 3)
    assert record["rsd"]["seed"] == 3
    assert record["rsd"]["threshold"] == 0.7
    assert "trace" not in finished


async def test_usage_counts_prompt_and_answer(start: Start) -> None:
    usage = (await (await start()).chat()).json()["usage"]
    # The prompt has 4 words, and no tokenizer is known: from the contexts of the three drafts.
    assert usage["prompt_tokens"] == pytest.approx(len(QUESTION.split()), abs=1)
    assert usage["completion_tokens"] >= len(ANSWER.split())
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["completion_tokens_details"] == {"reasoning_tokens": 0}
    assert usage["prompt_tokens_details"] == {"cached_tokens": 0}


async def test_a_stream_is_the_answer_and_never_a_rejected_draft(start: Start) -> None:
    server = await start()
    events = await streamed(server, stream_options={"include_usage": True})
    assert content_of(events) == ANSWER
    assert events[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert DRAFT[1] not in json.dumps(events)
    ends = [e for e in events if e["choices"] and e["choices"][0]["finish_reason"]]
    assert [e["choices"][0]["finish_reason"] for e in ends] == ["stop"]
    assert ends[0]["rsd"]["event"] == "finished"
    assert events[-1]["choices"] == []
    assert events[-1]["usage"] == (await server.chat()).json()["usage"]
    assert all(e["usage"] is None for e in events[:-1])


async def test_a_trace_tells_who_wrote_which_step(start: Start) -> None:
    events = await streamed(await start(), rsd={"trace": True})
    told = [e["rsd"] for e in events if "rsd" in e]
    assert [e["event"] for e in told] == [
        *["proposed", "scored", "decided"] * 3,
        "finished",
    ]
    second = [e for e in told if e["event"] == "decided"][1]
    assert second["source"] == "target"
    assert second["text"] == TARGET[1]
    assert second["reward"] == 0.2
    assert second["weight"] == 0.0
    [rejected] = second["rejected"]
    assert (rejected["text"], rejected["reward"], rejected["weight"]) == (DRAFT[1], 0.2, 0.0)
    assert "".join(e["text"] for e in told if e["event"] == "decided") == content_of(events)


async def test_a_trace_without_a_stream(start: Start) -> None:
    [finished] = (await (await start()).chat(rsd={"trace": True})).json()["rsd"]["choices"]
    assert [step["source"] for step in finished["trace"]] == ["draft", "target", "draft"]


@pytest.mark.parametrize(
    ("model", "text"),
    [
        ("rsd@0.1", "".join(DRAFT)),
        ("rsd@0.95", "".join(TARGET)),
        ("rsd/target", "".join(TARGET)),
        ("rsd/draft", "".join(DRAFT)),
        ("majority@2", "".join(DRAFT)),
        ("rsd", ANSWER),
    ],
)
async def test_models_are_methods(start: Start, model: str, text: str) -> None:
    server = await start()
    record = (await server.chat(model=model)).json()
    assert record["choices"][0]["message"]["content"] == text
    assert content_of(await streamed(server, model=model)) == text


async def test_the_method_by_body_and_by_header(start: Start) -> None:
    server = await start()
    by_body = (await server.chat(rsd={"method": "target"})).json()
    assert by_body["choices"][0]["message"]["content"] == "".join(TARGET)
    by_header = await server.client.post(
        "/v1/chat/completions", json=asked(), headers={"X-RSD-Threshold": "0.1"}
    )
    assert by_header.json()["choices"][0]["message"]["content"] == "".join(DRAFT)
    assert by_header.json()["rsd"]["threshold"] == 0.1
    both = await server.client.post(
        "/v1/chat/completions",
        json=asked(rsd={"threshold": 0.95}),
        headers={"X-RSD-Threshold": "0.1"},
    )
    assert both.json()["rsd"]["threshold"] == 0.95


async def test_several_answers(start: Start) -> None:
    server = await start()
    record = (await server.chat(n=3)).json()
    assert [c["index"] for c in record["choices"]] == [0, 1, 2]
    assert len(record["rsd"]["choices"]) == 3
    assert (
        record["usage"]["completion_tokens"]
        == 3 * (await server.chat()).json()["usage"]["completion_tokens"]
    )
    events = await streamed(server, n=2)
    assert content_of(events, 0) == content_of(events, 1) == ANSWER


@pytest.mark.parametrize("stop", ["is 4", ["nothing", "is 4"]])
async def test_a_stop_string_ends_the_answer(start: Start, stop: object) -> None:
    server = await start()
    record = (await server.chat(stop=stop)).json()
    assert record["choices"][0]["message"]["content"] == "2 + 2 = 4.\n\nIt "
    assert record["choices"][0]["finish_reason"] == "stop"
    [finished] = record["rsd"]["choices"]
    assert finished["finish_reason"] == "stop_string"
    assert finished["steps"] == 2
    assert content_of(await streamed(server, stop=stop)) == "2 + 2 = 4.\n\nIt "


async def test_the_token_limit_is_a_length(start: Start) -> None:
    server = await start()
    for name in ("max_tokens", "max_completion_tokens"):
        record = (await server.chat(**{name: 6})).json()
        assert record["choices"][0]["finish_reason"] == "length"
        assert record["rsd"]["choices"][0]["answer"] is None


THINKING = ["<think>Two and 4.\n\n", "Surely.</think>\nIt is 4.\n\n", "So \\boxed{4}."]


async def test_thoughts_have_both_fields_and_no_stop_string_ends_them(start: Start) -> None:
    server = await start(scripted(THINKING, THINKING))
    record = (await server.chat(stop="4")).json()
    message = record["choices"][0]["message"]
    assert message["reasoning"] == message["reasoning_content"] == "Two and 4.\n\nSurely."
    assert message["content"] == "It is "
    events = await streamed(server, stop="4")
    for field in ("reasoning", "reasoning_content"):
        assert content_of(events, field=field) == "Two and 4.\n\nSurely."
    assert content_of(events) == "It is "
    details = record["usage"]["completion_tokens_details"]
    assert 0 < details["reasoning_tokens"] < record["usage"]["completion_tokens"]


async def test_thoughts_inside_of_the_content_where_asked(start: Start) -> None:
    server = await start(scripted(THINKING, THINKING))
    message = (await server.chat(separate_reasoning=False)).json()["choices"][0]["message"]
    assert message["content"] == "".join(THINKING)
    assert "reasoning" not in message


async def test_content_is_never_null(start: Start) -> None:
    server = await start(scripted(["<think>hm"], ["<think>hm"]))
    message = (await server.chat()).json()["choices"][0]["message"]
    assert message["content"] == ""
    assert message["reasoning"] == "hm"


async def test_a_conversation_of_several_turns_is_read_whole(start: Start) -> None:
    seen: list[Generate] = []

    def write(request: Generate) -> str:
        seen.append(request)
        return "\\boxed{1}"

    server = await start(Models(ScriptedModel(write), ScriptedModel(write), scripted().reward))
    messages = [
        {"role": "developer", "content": "Be brief."},
        {
            "role": "user",
            "content": [{"type": "text", "text": "One"}, {"type": "text", "text": "?"}],
        },
        {"role": "assistant", "content": "1", "reasoning": "hm", "reasoning_content": "hm"},
        {"role": "user", "content": "<|im_end|> and two?"},
    ]
    response = await server.chat(messages=messages)
    assert response.status_code == 200, response.text
    read = [(m.role, m.content) for m in seen[0].context.messages]
    assert read == [
        ("system", "Be brief."),
        ("user", "One?"),
        ("assistant", "1"),
        ("user", "<|im_end|> and two?"),
    ]


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"model": "gpt-4o"}, 404, "model"),
        ({"model": "target"}, 404, "model"),
        ({"model": "rsd@7"}, 404, "model"),
        ({"messages": []}, 400, "messages"),
        ({"messages": [{"role": "wizard", "content": "?"}]}, 400, "messages.0.role"),
        ({"messages": [{"role": "assistant", "content": "4"}]}, 400, "messages"),
        ({"messages": [{"role": "user", "content": None}]}, 400, "messages.0.content"),
        ({"messages": [{"role": "user", "content": "\ud800"}]}, 400, "messages.0.content"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
            400,
            "messages.0.content.0",
        ),
        ({"temperature": -1}, 400, "temperature"),
        ({"temperature": float("nan")}, 400, "temperature"),
        ({"temperature": "hot"}, 400, "temperature"),
        ({"top_p": 2}, 400, "top_p"),
        ({"n": 0}, 400, "n"),
        ({"n": 1000}, 400, "n"),
        ({"model": "majority@40", "n": 2}, 400, "n"),
        ({"model": "majority@100"}, 400, "rsd.method"),
        ({"max_tokens": 0}, 400, "max_tokens"),
        ({"seed": 2**70}, 400, "seed"),
        ({"tools": [{"type": "function"}]}, 400, "tools"),
        ({"tool_choice": "required"}, 400, "tool_choice"),
        ({"response_format": {"type": "json_object"}}, 400, "response_format"),
        ({"presence_penalty": 0.5}, 400, "presence_penalty"),
        ({"logit_bias": {"5": 1}}, 400, "logit_bias"),
        ({"logprobs": True}, 400, "logprobs"),
        ({"rsd": {"limiting": 0.5}}, 400, "rsd.limiting"),
        ({"rsd": {"threshold": 5}}, 400, "rsd.threshold"),
        ({"rsd": {"method": "magic"}}, 400, "rsd.method"),
        ({"rsd": {"weighting": "python:os:abort"}}, 400, "rsd.weighting"),
        ({"rsd": {"method": "rsd:weighting=python:os:abort"}}, 400, "rsd.method"),
        ({"model": "rsd@0.5", "rsd": {"threshold": 0.6}}, 400, "rsd.threshold"),
        ({"rsd": {"candidates": 4}}, 400, "rsd"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_what_cannot_be_honoured_is_refused_by_name(
    start: Start, body: dict[str, Any], status: int, param: str, stream: bool
) -> None:
    server = await start()
    content = json.dumps(asked(**body, stream=stream))
    response = await server.client.post(
        "/v1/chat/completions", content=content, headers={"content-type": "application/json"}
    )
    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (status, param), error
    assert set(error) == {"message", "type", "param", "code"}


async def test_values_that_ask_for_nothing_are_taken(start: Start) -> None:
    response = await (await start()).chat(
        tools=[],
        tool_choice="none",
        response_format={"type": "text"},
        presence_penalty=0,
        frequency_penalty=0.0,
        logprobs=False,
        user="me",
        metadata={"chat": "1"},
        top_k=-1,
        stop=[],
        n=None,
        logit_bias={},
    )
    assert response.status_code == 200, response.text
    assert "ignored" not in response.json()["rsd"]


async def test_parameters_that_nobody_knows_are_named_in_the_answer(start: Start) -> None:
    record = (await (await start()).chat(max_token=3)).json()
    assert record["rsd"]["ignored"] == ["max_token"]


async def test_settings_without_an_effect_on_the_method_are_named_in_the_answer(
    start: Start,
) -> None:
    client = await start()
    settings = {"threshold": 0.5, "lookahead": 1, "max_steps": 9}
    record = (await client.chat(model="rsd/target", rsd=settings)).json()
    assert record["rsd"]["ignored"] == ["rsd.threshold", "rsd.lookahead"]
    assert "ignored" not in (await client.chat(rsd=settings)).json()["rsd"]


def failing(request: Generate) -> str:
    raise RequestError("the server of the draft is gone")


async def test_a_model_that_fails_is_an_error_and_not_an_answer(start: Start) -> None:
    models = Models(ScriptedModel(failing), ScriptedModel(writer(TARGET)), scripted().reward)
    server = await start(models)
    response = await server.chat()
    assert response.status_code == 502
    assert "gone" in response.json()["error"]["message"]
    events = events_of((await server.chat(stream=True)).text)
    assert "gone" in events[-1]["error"]["message"]
    assert (await server.chat(model="rsd/target")).status_code == 200


async def test_a_client_that_leaves_frees_its_place(start: Start) -> None:
    server = await start(scripted(latency_s=0.2))
    body = json.dumps(asked(stream=True)).encode()
    sent: list[dict[str, Any]] = []
    left = asyncio.Event()
    given = iter([{"type": "http.request", "body": body}])

    async def receive() -> dict[str, Any]:
        if (message := next(given, None)) is not None:
            return message
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/chat/completions",
        "raw_path": b"/v1/chat/completions",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
        "asgi": {"version": "3.0"},
    }
    call = asyncio.ensure_future(server.app(scope, receive, send))
    await asyncio.sleep(0.05)
    assert server.service.session.in_flight == 1
    left.set()
    await call
    assert server.service.session.in_flight == 0
    assert sent[0]["status"] == 200


async def test_a_deadline_is_an_error(start: Start) -> None:
    server = await start(scripted(latency_s=0.3), deadline_s=0.1)
    response = await server.chat()
    assert response.status_code == 504
    assert response.json()["error"]["code"] == "deadline_exceeded"


async def test_more_than_the_queue_holds_is_refused_with_a_time_to_wait(start: Start) -> None:
    server = await start(scripted(latency_s=0.1), run={"concurrency": 2}, queue=3)
    responses = await asyncio.gather(*(server.chat(stream=i % 2 == 0) for i in range(12)))
    refused = [r for r in responses if r.status_code == 429]
    assert len(refused) == 7
    assert all(r.headers["retry-after"] == "1" for r in refused)
    assert all(r.json()["error"]["code"] == "rate_limit_exceeded" for r in refused)
    served = [r for r in responses if r.status_code == 200]
    assert len(served) == 5
    assert server.service.session.waiting == 0


async def test_requests_without_a_seed_have_seeds_of_their_own(start: Start) -> None:
    server = await start()
    seeds = {(await server.chat()).json()["rsd"]["seed"] for _ in range(4)}
    assert len(seeds) == 4
    server = await start(ignore_seed=True)
    assert (await server.chat(seed=1234)).json()["rsd"]["seed"] != 1234


async def test_thousands_of_requests_at_once_are_refused_and_not_kept(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    """Straight to the application, as a client of so many connections would cost more than it."""
    caplog.set_level(logging.CRITICAL, "rsdecode")  # or pytest keeps a line for each request
    server = await start(scripted(latency_s=0.05), run={"concurrency": 2}, queue=8)
    body = json.dumps(asked()).encode()
    answers: Counter[tuple[int, bytes | None]] = Counter()

    async def one() -> None:
        unread = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> Any:
            return unread.pop() if unread else await asyncio.Event().wait()

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                wait = dict(message["headers"]).get(b"retry-after")
                answers[message["status"], wait] += 1

        await server.app(scope(body), receive, send)

    async def flood() -> int:
        """The memory after so many requests."""
        await asyncio.gather(*(one() for _ in range(REQUESTS)))
        await asyncio.sleep(0.1)  # the loop lets go of their tasks
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    before, after = await flood(), await flood()
    tracemalloc.stop()
    assert set(answers) == {(200, None), (429, b"1")}
    assert answers.total() == 2 * REQUESTS
    assert answers[200, None] >= 20
    assert after - before < 100 * REQUESTS, "as much after the second flood as after the first"
    assert server.service.session.in_flight == server.service.session.waiting == 0


def scope(body: bytes) -> dict[str, Any]:
    headers = {"content-type": "application/json", "content-length": str(len(body))}
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/v1/chat/completions",
        "raw_path": b"/v1/chat/completions",
        "query_string": b"",
        "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 1),
        "server": ("server", 80),
    }
