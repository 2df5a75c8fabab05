"""Streamed replies are those of the same requests unstreamed; leaving one stops the server."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from rsdecode.backends.openai_http import Address, HttpSettings, ServedModel, Transport
from rsdecode.backends.openai_http.asks import Ask
from rsdecode.backends.openai_http.dialects import LLAMA_CPP, SGLANG, VLLM
from rsdecode.backends.openai_http.faults import Fault
from rsdecode.backends.openai_http.streams import LlamaCppStream
from rsdecode.backends.transformers.model import LocalModel, load_model
from rsdecode.core.protocols import Streamer
from rsdecode.core.requests import Failed, Generate, Generated, Sampling
from rsdecode.core.segment import PARAGRAPH, WHOLE_ANSWER, Boundary
from rsdecode.core.types import Context, Message, Role, Usage
from rsdecode.models.abacus import model_path, problems
from tests.backends.openai_http.local_server import Events, LocalServer, Reply
from tests.backends.openai_http.model_server import NAME, Completions


@pytest.fixture(scope="module")
def writer() -> Iterator[LocalModel]:
    model = load_model(str(model_path("draft")))
    yield model
    model.close()


def served(server: LocalServer, **options: Any) -> ServedModel:
    settings = HttpSettings(attempts=3, backoff_s=0.001, rest_s=0.001)
    return ServedModel(Transport(Address((server.url,), NAME), settings), **options)


def requests() -> list[Generate]:
    boundaries = (PARAGRAPH, WHOLE_ANSWER, Boundary(tokens=5))
    return [
        Generate(Role.DRAFT, Context((Message("user", p.question),)), 80, boundary, session=p.id)
        for p in problems("test", limit=8)
        for boundary in boundaries
    ]


def paid(usage: Usage) -> Usage:
    """What does not depend on the cache and the clock."""
    read = usage.prefill_tokens + usage.cached_tokens
    return replace(usage, prefill_tokens=read, cached_tokens=0, attended_tokens=0, seconds=0.0)


@pytest.mark.parametrize("kind", ["vllm", "plain"])
@pytest.mark.parametrize("ids", [True, False], ids=["by-ids", "by-text"])
async def test_streamed_replies_are_the_same(writer: LocalModel, kind: str, ids: bool) -> None:
    shown: defaultdict[int, str] = defaultdict(str)
    times: defaultdict[int, int] = defaultdict(int)

    def show(place: int, text: str) -> None:
        assert text
        shown[place] += text
        times[place] += 1

    async with LocalServer(Completions(writer, kind)) as server:
        model = served(server, tokenizer=writer._tokenizer if ids else None)
        assert isinstance(model, Streamer)
        expected = await model.generate(requests())
        found = await model.stream(requests(), show)
    for place, (mine, theirs) in enumerate(zip(found, expected, strict=True)):
        assert isinstance(mine, Generated), mine
        assert isinstance(theirs, Generated), theirs
        assert mine.segment == theirs.segment
        assert mine.finish_reason == theirs.finish_reason
        assert paid(mine.usage) == paid(theirs.usage)
        assert shown[place].startswith(mine.segment.text)
        if kind == "vllm":
            assert times[place] > 0.7 * mine.token_count


def flaky(breaks: list[int | None], texts: list[list[str]]) -> Any:
    """A vLLM server that loses connections after so many events, and says texts in turn."""

    async def answer(path: str, body: dict[str, Any]) -> Reply | Events:
        if path == "/v1/models":
            return Reply(200, {"data": [{"id": NAME, "owned_by": "vllm"}]})
        if path == "/tokenize":
            return Reply(200, {"tokens": [1, 2, 3]})
        words = texts.pop(0) if len(texts) > 1 else texts[0]
        events = [{"choices": [{"text": w, "finish_reason": None}], "usage": None} for w in words]
        events[-1]["choices"][0] |= {"finish_reason": "stop", "stop_reason": None}  # pyright: ignore
        usage = {"prompt_tokens": 3, "completion_tokens": len(words)}
        events.append({"choices": [], "usage": usage})  # pyright: ignore
        return Events(events, breaks_after=breaks.pop(0) if breaks else None)

    return answer


def ask(max_tokens: int = 50) -> Generate:
    return Generate(Role.DRAFT, Context((Message("user", "Why?"),)), max_tokens)


async def test_a_stream_that_breaks_off_is_asked_again_and_goes_on_where_it_was() -> None:
    shown: list[str] = []
    async with LocalServer(flaky([2, None], [["So", " it", " is", "."]])) as server:
        [reply] = await served(server).stream([ask()], lambda _, text: shown.append(text))
    assert isinstance(reply, Generated)
    assert shown == ["So", " it", " is", "."]
    assert reply.segment.text == "So it is."
    assert reply.usage.decoded_tokens == 4


async def test_another_text_the_second_time_is_not_mixed_with_the_first() -> None:
    shown: list[str] = []
    texts = [["So", " it", " is"], ["No", "."]]
    async with LocalServer(flaky([2, None], texts)) as server:
        [reply] = await served(server).stream([ask()], lambda _, text: shown.append(text))
    assert isinstance(reply, Generated)
    assert reply.segment.text == "No."
    assert shown == ["So", " it"]


async def test_a_stream_that_only_breaks_off_is_a_failure() -> None:
    async with LocalServer(flaky([2, 2, 2, 2], [["So", " it", " is", "."]])) as server:
        [reply] = await served(server).stream([ask()], lambda _, text: None)
    assert isinstance(reply, Failed)
    assert "3 tries" in str(reply.error)


async def test_leaving_a_stream_stops_the_server() -> None:
    async def endless(path: str, body: dict[str, Any]) -> Reply | Events:
        if body.get("stream"):
            chunk = {"choices": [{"text": "on ", "finish_reason": None}], "usage": None}
            return Events([chunk] * 10_000, pause_s=0.005)
        return await flaky([], [["."]])(path, body)

    started = asyncio.Event()
    async with LocalServer(endless) as server:
        model = served(server)
        task = asyncio.create_task(model.stream([ask()], lambda _, text: started.set()))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        sent = server.sent
        await asyncio.sleep(0.1)
        assert server.hung_up == 1
        assert server.sent <= sent + 2
        again = asyncio.create_task(model.stream([ask()], lambda _, text: None))
        await asyncio.sleep(0.05)
        model.close()
        [reply] = await again
        assert isinstance(reply, Failed)


@pytest.mark.parametrize("error", [{"error": {"message": "out of blocks"}}, {"error": "gone"}])
def test_an_error_in_the_stream_is_a_fault(error: dict[str, Any]) -> None:
    for dialect in (VLLM, SGLANG, LLAMA_CPP):
        with pytest.raises(Fault, match="broke off"):
            dialect.stream(Ask("So", 9)).add(error)


def test_what_each_server_is_asked_for_a_stream() -> None:
    for dialect in (VLLM, SGLANG):
        _, body = dialect.request("http://h/v1", "m", Ask("So", 9), stream=True)
        assert body["stream"]
        assert body["stream_options"] == {"include_usage": True}
    _, body = LLAMA_CPP.request("http://h/v1", "m", Ask("So", 9), stream=True)
    assert body["stream"]
    assert "stream_options" not in body


IDS = {"\U0001f31f": (5, 6, 7), "a": (1,), "\u65e5": (8, 9)}


def llama_cpp_events(*told: tuple[str, int, int]) -> list[dict[str, Any]]:
    """Text, the one token that is told of, and how many were written by then."""
    return [{"content": t, "tokens": [id], "tokens_predicted": n} for t, id, n in told]


@pytest.mark.parametrize(
    ("events", "ids"),
    [
        (llama_cpp_events(("a", 1, 1), ("\U0001f31f", 7, 4), ("a", 1, 5)), [1, 5, 6, 7, 1]),
        (llama_cpp_events(("\u65e5", 9, 3)), []),  # written in three tokens, read in two
        (llama_cpp_events(("\u65e5", 4, 2)), []),  # ends with another token than it is read with
        (llama_cpp_events(("\ufffda", 1, 2)), []),
    ],
)
def test_llama_cpp_tells_the_last_token_of_a_character_alone(
    events: list[dict[str, Any]], ids: list[int]
) -> None:
    stream = LlamaCppStream(lambda text: IDS.get(text, (2, 1)))
    for event in events:
        stream.add(event)
    reply: Any = stream.reply()
    assert reply["tokens"] == ids
    assert reply["content"] == "".join(event["content"] for event in events)


def test_sampling_is_the_same_streamed() -> None:
    question = Ask("So", 9, ("\n\n",), Sampling(0.5, 0.9, 7), seed=3, salt="s")
    for dialect in (VLLM, SGLANG, LLAMA_CPP):
        _, whole = dialect.request("http://h/v1", "m", question)
        _, parts = dialect.request("http://h/v1", "m", question, stream=True)
        assert {k: v for k, v in parts.items() if not k.startswith("stream")} == whole
