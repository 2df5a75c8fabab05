from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import openai
import pytest

from tests.server.conftest import ANSWER, FAMILY_QUESTION, QUESTION, Process, Start, scripted
from tests.server.test_chat import THINKING


@pytest.fixture
async def client(family: Process) -> AsyncGenerator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(
        base_url=family.base_url, api_key="none", max_retries=0, timeout=120
    ) as client:
        yield client


async def test_the_official_client_reads_responses(client: openai.AsyncOpenAI) -> None:
    asked: Any = {"model": "rsd", "input": FAMILY_QUESTION, "extra_body": {"seed": 0}}
    whole = await client.responses.create(**asked)
    assert "72" in whole.output_text
    assert whole.status == "completed"
    assert whole.usage is not None
    assert whole.usage.output_tokens > 10
    text, last = "", None
    async with client.responses.stream(**asked) as stream:
        async for event in stream:
            if event.type == "response.output_text.delta":
                text += event.delta
            last = event.type
        final = await stream.get_final_response()
    assert last == "response.completed"
    assert text == whole.output_text == final.output_text
    chat = await client.chat.completions.create(
        model="rsd", messages=[{"role": "user", "content": FAMILY_QUESTION}], seed=0
    )
    assert chat.choices[0].message.content == text


async def test_a_response_and_its_conversation(start: Start) -> None:
    server = await start()
    body: dict[str, Any] = {
        "model": "rsd",
        "instructions": "Be brief.",
        "input": [
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "a"}]},
            {"type": "reasoning", "id": "rs_1", "summary": []},
            {"role": "assistant", "content": [{"type": "output_text", "text": "b"}]},
            {"role": "user", "content": QUESTION},
        ],
    }
    record = (await server.client.post("/v1/responses", json=body)).json()
    assert record["output"][0]["content"][0]["text"] == ANSWER
    assert record["rsd"]["choices"][0]["answer"] == "4"


async def test_thoughts_are_items_of_their_own(start: Start) -> None:
    server = await start(scripted(THINKING, THINKING))
    body = {"model": "rsd", "input": QUESTION}
    record = (await server.client.post("/v1/responses", json=body)).json()
    assert [item["type"] for item in record["output"]] == ["reasoning", "message"]
    assert record["output"][0]["content"][0]["text"] == "Two and 4.\n\nSurely."
    stream = (await server.client.post("/v1/responses", json={**body, "stream": True})).text
    for kind in ("reasoning_text.delta", "output_text.done", "completed"):
        assert f"event: response.{kind}\n" in stream


async def test_a_response_that_is_cut_is_incomplete(start: Start) -> None:
    body = {"model": "rsd", "input": QUESTION, "max_output_tokens": 3}
    record = (await (await start()).client.post("/v1/responses", json=body)).json()
    assert record["status"] == "incomplete"
    assert record["incomplete_details"] == {"reason": "max_output_tokens"}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"tools": [{"type": "web_search"}]}, "tools"),
        ({"text": {"format": {"type": "json_schema"}}}, "text.format"),
        ({"input": [{"type": "item_reference", "id": "1"}]}, "input.0"),
        ({"input": []}, "input"),
        ({"stop": "a"}, "stop"),
    ],
)
async def test_what_cannot_be_honoured_is_refused_by_name(
    start: Start, body: dict[str, Any], param: str
) -> None:
    asked = {"model": "rsd", "input": QUESTION, **body}
    response = await (await start()).client.post("/v1/responses", json=asked)
    assert response.status_code == 400
    assert response.json()["error"]["param"].startswith(param)


async def test_an_empty_input_is_told_as_one(start: Start) -> None:
    for empty in ([], ""):
        asked = {"model": "rsd", "input": empty}
        response = await (await start()).client.post("/v1/responses", json=asked)
        assert response.status_code == 400
        assert response.json()["error"]["message"].startswith("'input' is empty: give the question")
