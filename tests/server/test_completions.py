from __future__ import annotations

import math
from collections.abc import AsyncGenerator
from typing import Any

import openai
import pytest

from tests.server.conftest import (
    DRAFT,
    FAMILY_QUESTION,
    TARGET,
    Process,
    Server,
    Start,
    scripted,
)
from tests.server.test_chat import events_of


async def complete(server: Server, **body: Any) -> Any:
    return await server.client.post("/v1/completions", json={"model": "rsd", **body})


async def test_a_text_goes_on_without_a_template(start: Start) -> None:
    server = await start()
    record = (await complete(server, prompt="2 + 2 is", max_tokens=100)).json()
    assert record["object"] == "text_completion"
    assert record["choices"][0]["text"] == DRAFT[0] + TARGET[1] + DRAFT[2]
    assert record["choices"][0]["finish_reason"] == "stop"
    assert record["usage"]["completion_tokens"] > 10


async def test_several_prompts_and_answers_in_order(start: Start) -> None:
    server = await start()
    body: dict[str, Any] = {"prompt": ["a", "b"], "n": 2, "max_tokens": 100, "echo": True}
    choices = (await complete(server, **body)).json()["choices"]
    assert [choice["index"] for choice in choices] == [0, 1, 2, 3]
    assert [choice["text"][0] for choice in choices] == ["a", "a", "b", "b"]
    events = events_of((await complete(server, **body, stream=True)).text)
    texts = [""] * 4
    for event in events:
        for choice in event["choices"]:
            texts[choice["index"]] += choice["text"]
    assert texts == [choice["text"] for choice in choices]


async def test_the_default_is_16_tokens_and_stops_are_heard(start: Start) -> None:
    long = ["one " * 20 + "is \\boxed{4}."]
    server = await start(scripted(long, long))
    short = (await complete(server, prompt="a")).json()["choices"][0]
    assert short["finish_reason"] == "length"
    assert len(short["text"].split()) == 16
    server = await start()
    stopped = (await complete(server, prompt="a", stop="4.", max_tokens=99)).json()["choices"][0]
    assert (stopped["text"], stopped["finish_reason"]) == ("2 + 2 = ", "stop")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [[]]}, "prompt"),
        ({"prompt": [5, 6]}, "prompt"),
        ({"prompt": "a", "suffix": "b"}, "suffix"),
        ({"prompt": "a", "logprobs": 1}, "logprobs"),
        ({"prompt": "a", "best_of": 3}, "best_of"),
        ({"prompt": "a", "reasoning_effort": "low"}, "reasoning_effort"),
        ({"prompt": "a", "echo": True, "logprobs": 1, "max_tokens": 5}, "logprobs"),
        ({"prompt": "a", "echo": True, "logprobs": 1, "max_tokens": 1}, "logprobs"),
    ],
)
async def test_what_cannot_be_done_is_refused(
    start: Start, body: dict[str, Any], param: str
) -> None:
    response = await complete(await start(), **body)
    assert response.status_code == 400, response.text
    assert response.json()["error"]["param"].startswith(param)


@pytest.fixture
async def client(family: Process) -> AsyncGenerator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(
        base_url=family.base_url, api_key="none", max_retries=0, timeout=120
    ) as client:
        yield client


async def raw(client: openai.AsyncOpenAI, path: str, **body: Any) -> Any:
    root = str(client.base_url).removesuffix("v1/")
    return await client.post(f"{root}{path}", body=body, cast_to=object)


async def test_token_ids_say_what_their_text_says(client: openai.AsyncOpenAI) -> None:
    chat = [{"role": "user", "content": FAMILY_QUESTION}]
    ids = (await raw(client, "tokenize", messages=chat))["tokens"]
    text = (await raw(client, "detokenize", tokens=ids))["prompt"]
    assert FAMILY_QUESTION in text
    asked: Any = {"model": "rsd", "max_tokens": 200, "seed": 0}
    by_ids = await client.completions.create(prompt=ids, **asked)
    by_both = await client.completions.create(prompt=[ids, ids], **asked)
    by_chat = await client.chat.completions.create(messages=chat, **asked)
    answer = by_chat.choices[0].message.content
    assert answer is not None
    assert by_ids.choices[0].text == answer
    assert [choice.text for choice in by_both.choices] == [answer, answer]
    assert "72" in answer


async def test_the_target_tells_how_likely_a_text_is(client: openai.AsyncOpenAI) -> None:
    chat: Any = [{"role": "user", "content": FAMILY_QUESTION}]
    ids = (await raw(client, "tokenize", messages=chat))["tokens"]
    asked: Any = {"model": "rsd", "echo": True, "logprobs": 1, "max_tokens": 1}
    told = (await client.completions.create(prompt=[ids], **asked)).choices[0]
    assert told.logprobs is not None
    logprobs, top = told.logprobs.token_logprobs, told.logprobs.top_logprobs
    assert logprobs is not None
    assert top is not None
    assert len(logprobs) == len(top) == len(ids) + 1
    assert logprobs[0] is None
    assert all(value is not None and value <= 0 for value in logprobs[1:])
    assert all(own <= max(best.values()) for own, best in zip(logprobs[1:], top[1:], strict=True))
    # The token that the target would write: greedy, the same model alone begins with it.
    alone = await client.chat.completions.create(model="rsd/target", messages=chat, temperature=0)
    assert told.logprobs.tokens is not None
    assert (alone.choices[0].message.content or "").startswith(told.logprobs.tokens[-1])
    # Right answers are likelier than wrong ones.
    likelier: list[float] = []
    for answer in ("72", "71"):
        end = f"The answer is \\boxed{{{answer}}}."
        more = (await raw(client, "tokenize", prompt=end))["tokens"]
        told = (await client.completions.create(prompt=[ids + more], **asked)).choices[0]
        assert told.logprobs is not None
        values = told.logprobs.token_logprobs or []
        likelier.append(math.fsum(v for v in values[len(ids) : -1] if v is not None))
    assert likelier[0] > likelier[1]


async def test_long_texts_are_measured_as_short_ones(client: openai.AsyncOpenAI) -> None:
    """The outputs of a long text are taken piece by piece, which changes nothing."""
    text = f"{FAMILY_QUESTION} " * 12
    asked: Any = {"model": "rsd", "echo": True, "logprobs": 2, "max_tokens": 0}
    whole = (await client.completions.create(prompt=text, **asked)).choices[0]
    part = (await client.completions.create(prompt=text[:90], **asked)).choices[0]
    assert whole.text == text
    assert whole.logprobs is not None
    assert part.logprobs is not None
    long, short = whole.logprobs.token_logprobs, part.logprobs.token_logprobs
    assert long is not None
    assert short is not None
    assert len(long) > 256
    kept = len(short) - 5  # the last word was cut
    assert long[1:kept] == pytest.approx(short[1:kept], abs=1e-4)


async def test_what_lm_eval_asks_of_a_tokenizer(client: openai.AsyncOpenAI) -> None:
    root = str(client.base_url).removesuffix("v1/")
    info: Any = await client.get(f"{root}tokenizer_info", cast_to=object)
    assert info["eos_token"]
    assert "messages" in info["chat_template"]
    with pytest.raises(openai.BadRequestError, match="vocabulary"):
        await raw(client, "detokenize", tokens=[10**6])
