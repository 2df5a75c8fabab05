"""The official client against a server of the embedded family in a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.server.conftest import FAMILY_QUESTION, Process

MESSAGES: Any = [{"role": "user", "content": FAMILY_QUESTION}]


@pytest.fixture
def client(family: Process) -> openai.OpenAI:
    return openai.OpenAI(base_url=family.base_url, api_key="none", max_retries=0, timeout=60)


@pytest.fixture
async def async_client(family: Process) -> AsyncGenerator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(
        base_url=family.base_url, api_key="none", max_retries=0, timeout=60
    ) as client:
        yield client


def solved(tmp_path: Path, *options: str) -> list[dict[str, Any]]:
    """What `rsd solve` says to the same question."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "rsdecode",
            "solve",
            FAMILY_QUESTION,
            "--json",
            "--max-tokens",
            "256",
            *list(options),
        ],
        cwd=tmp_path,
        env=os.environ,
        capture_output=True,
        text=True,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_answers_are_those_of_rsd_solve_streamed_and_not(
    client: openai.OpenAI, tmp_path: Path
) -> None:
    options = ("--seed", "7", "--temperature", "2", "--samples", "2")
    texts = [record["text"] for record in solved(tmp_path, *options)]
    assert len(set(texts)) == 2
    asked: Any = {"model": "rsd", "messages": MESSAGES, "seed": 7, "temperature": 2.0, "n": 2}
    whole = client.chat.completions.create(**asked)
    assert [choice.message.content for choice in whole.choices] == texts
    streamed = ["", ""]
    for chunk in client.chat.completions.create(**asked, stream=True):
        for choice in chunk.choices:
            streamed[choice.index] += choice.delta.content or ""
    assert streamed == texts


def test_one_model_alone_is_streamed_while_it_writes(client: openai.OpenAI, tmp_path: Path) -> None:
    [record] = solved(tmp_path, "--method", "target")
    pieces = [
        chunk.choices[0].delta.content
        for chunk in client.chat.completions.create(
            model="rsd/target", messages=MESSAGES, stream=True, temperature=0
        )
        if chunk.choices and chunk.choices[0].delta.content
    ]
    assert "".join(pieces) == record["text"]
    assert len(pieces[0]) < len(record["text"].partition("\n\n")[0]), "no step is kept back"


def test_usage_of_a_stream(client: openai.OpenAI) -> None:
    asked: Any = {"model": "rsd", "messages": MESSAGES, "seed": 0, "temperature": 0}
    whole = client.chat.completions.create(**asked)
    *_, last = client.chat.completions.create(
        **asked, stream=True, stream_options={"include_usage": True}
    )
    assert whole.usage is not None
    assert last.usage is not None
    assert whole.usage.completion_tokens == last.usage.completion_tokens > 10
    assert whole.usage.prompt_tokens == last.usage.prompt_tokens > 10


def test_a_stop_string_costs_and_says_the_same_streamed_and_not(client: openai.OpenAI) -> None:
    for model in ("rsd", "rsd/target"):
        asked: Any = {"model": model, "messages": MESSAGES, "seed": 0, "stop": ["answer"]}
        whole = client.chat.completions.create(**asked)
        text, usage = "", None
        for chunk in client.chat.completions.create(
            **asked, stream=True, stream_options={"include_usage": True}
        ):
            text += "".join(choice.delta.content or "" for choice in chunk.choices)
            usage = chunk.usage or usage
        assert whole.choices[0].message.content == text
        assert "answer" not in text
        assert text.endswith("The ")
        assert whole.choices[0].finish_reason == "stop"
        assert whole.usage is not None
        assert usage is not None
        assert whole.usage.completion_tokens == usage.completion_tokens


async def test_many_at_once_are_as_alone(async_client: openai.AsyncOpenAI) -> None:
    async def ask(seed: int) -> str:
        answer = await async_client.chat.completions.create(
            model="rsd", messages=MESSAGES, seed=seed, temperature=2.0
        )
        return answer.choices[0].message.content or ""

    together = await asyncio.gather(*(ask(seed) for seed in range(6)))
    assert [await ask(seed) for seed in range(2)] == together[:2]
    assert len(set(together)) > 1


async def test_the_extension_in_a_stream(async_client: openai.AsyncOpenAI) -> None:
    events: list[dict[str, Any]] = []
    stream = await async_client.chat.completions.create(
        model="rsd",
        messages=MESSAGES,
        stream=True,
        extra_body={"rsd": {"threshold": 1.0, "trace": "deltas"}},
    )
    async for chunk in stream:
        events += [chunk.model_extra["rsd"]] if chunk.model_extra else []
    kinds = {event["event"] for event in events}
    assert kinds == {"delta", "proposed", "scored", "decided", "finished"}
    assert events[-1]["acceptance"] == 0.0
    assert events[-1]["answer"] == "72"


def test_models(client: openai.OpenAI) -> None:
    names = [model.id for model in client.models.list()]
    assert names[:3] == ["rsd", "rsd/target", "rsd/draft"]
    assert client.models.retrieve("majority@3").id == "majority@3"
    assert client.models.retrieve("rsd/draft").id == "rsd/draft"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-4o")


def test_errors_are_the_clients_own(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="gpt-4o"):
        client.chat.completions.create(model="gpt-4o", messages=MESSAGES)
    with pytest.raises(openai.BadRequestError, match="tools") as refused:
        client.chat.completions.create(model="rsd", messages=MESSAGES, tools=[{"type": "x"}])  # type: ignore[list-item, arg-type]
    assert refused.value.param == "tools"
    long: Any = [{"role": "user", "content": "What is 3 + 4? " * 1000}]
    with pytest.raises(openai.BadRequestError, match="maximum context length is 2048") as too_long:
        client.chat.completions.create(model="rsd", messages=long, stream=True)
    assert too_long.value.code == "context_length_exceeded"
