"""How likely each token of an answer was, on models whose distributions are known exactly."""

from __future__ import annotations

import json
from math import log
from typing import Any

import openai
import pytest

from rsdecode.backends.scripted import ScriptedReward
from rsdecode.core.protocols import Models
from rsdecode.core.requests import Score
from rsdecode.testing.categorical import CategoricalModel
from tests.server.conftest import FAMILY_QUESTION, Process, Server, asked

WORDS = ["", "one", " two", " 3", ".\n\n", "<think>", "</think>"]
END, ONE, TWO, THREE, STOP, OPEN, CLOSE = range(7)


def writer(chances: dict[int, float], length: int) -> CategoricalModel:
    """Draws one of two words `length` times, then a step's end; three steps, then the end."""

    def following(ids: tuple[int, ...]) -> list[float]:
        row = [0.0] * len(WORDS)
        if ids.count(STOP) == 3:
            row[END] = 1.0
        elif len(ids) - (max((i for i, t in enumerate(ids) if t == STOP), default=-1) + 1) < length:
            for word, chance in chances.items():
                row[word] = chance
        else:
            row[STOP] = 1.0
        return row

    return CategoricalModel(WORDS, following)


DRAFT_CHANCES, TARGET_CHANCES = {ONE: 0.25, TWO: 0.75}, {TWO: 0.1, THREE: 0.9}


def pair() -> Models:
    """Every second step is rejected."""

    def judge(request: Score) -> list[float]:
        first = len(request.context.answer)
        return [float((first + i) % 2 == 0) for i in range(len(request.steps))]

    draft, target = writer(DRAFT_CHANCES, 2), writer(TARGET_CHANCES, 3)
    return Models(draft, target, ScriptedReward(judge))


def joined(listed: list[dict[str, Any]]) -> str:
    return b"".join(bytes(token["bytes"]) for token in listed).decode()


async def chunks(server: Server, **body: Any) -> list[dict[str, Any]]:
    lines = (await server.chat(stream=True, **body)).text.splitlines()
    return [json.loads(line[6:]) for line in lines if line.startswith("data: {")]


@pytest.mark.parametrize("temperature", [0.0, 0.5, 1.0])
async def test_each_token_is_told_by_the_model_that_wrote_it(start, temperature: float) -> None:
    """The model's own probability, whatever temperature and top-p it was drawn with."""
    server: Server = await start(pair())
    body = {"seed": 5, "temperature": temperature, "top_p": 0.8, "logprobs": True}
    [choice] = (await server.chat(**body, top_logprobs=2)).json()["choices"]
    told = choice["logprobs"]["content"]
    assert joined(told) == choice["message"]["content"]
    assert [token["source"] for token in told] == 3 * ["draft"] + 4 * ["target"] + 3 * ["draft"]
    for token in told:
        chances = DRAFT_CHANCES if token["source"] == "draft" else TARGET_CHANCES
        expected = (
            0.0 if token["token"] == WORDS[STOP] else log(chances[WORDS.index(token["token"])])
        )
        assert token["logprob"] == pytest.approx(expected)
        best = token["top_logprobs"]
        assert len(best) == 2
        assert best[0]["logprob"] >= best[1]["logprob"] >= -9999.0
        if token["token"] != WORDS[STOP]:
            likeliest = max(chances, key=lambda word: chances[word])
            assert best[0]["token"] == WORDS[likeliest]
            assert best[0]["logprob"] == pytest.approx(log(chances[likeliest]))


@pytest.mark.parametrize("model", ["rsd", "rsd/target", "rsd/draft", "majority@3", "beam@2"])
async def test_streamed_and_not_each_chunk_with_the_tokens_of_its_text(start, model: str) -> None:
    server: Server = await start(pair())
    body = {"model": model, "seed": 3, "temperature": 1.0, "logprobs": True}
    [choice] = (await server.chat(**body)).json()["choices"]
    whole = choice["logprobs"]["content"]
    assert joined(whole) == choice["message"]["content"] != ""
    plain = (await server.chat(**{**body, "logprobs": False})).json()["choices"][0]
    assert plain["message"] == choice["message"]
    assert plain["logprobs"] is None
    streamed: list[dict[str, Any]] = []
    for chunk in await chunks(server, **body):
        for part in chunk["choices"]:
            new = (part["logprobs"] or {}).get("content", [])
            assert joined(new) == part["delta"].get("content", "")
            streamed += new
    assert streamed == whole


async def test_thoughts_and_what_a_stop_string_cuts_off_are_not_told(start) -> None:
    def following(ids: tuple[int, ...]) -> list[float]:
        order = [OPEN, ONE, TWO, CLOSE, STOP, ONE, TWO, STOP, THREE, STOP, END]
        return [float(word == order[len(ids)]) for word in range(len(WORDS))]

    target = CategoricalModel(WORDS, following)
    server: Server = await start(Models(target, target, ScriptedReward(lambda r: [0.0] * 9)))
    asked_for: dict[str, Any] = {"model": "rsd/target", "logprobs": True}
    [choice] = (await server.chat(**asked_for)).json()["choices"]
    message, told = choice["message"], choice["logprobs"]["content"]
    assert message["reasoning"] == "one two"
    assert message["content"].split() == [".", "one", "two.", "3."]
    assert joined(told) == message["content"]
    whole = (await server.chat(**asked_for, separate_reasoning=False)).json()["choices"][0]
    assert len(whole["logprobs"]["content"]) == 10
    stopped = (await server.chat(**asked_for, stop=[" two"])).json()["choices"][0]
    assert stopped["message"]["content"] == ".\n\none"
    assert joined(stopped["logprobs"]["content"]) == ".\n\none"


async def test_completions_have_the_older_form(start) -> None:
    server: Server = await start(pair())
    body: dict[str, Any] = {"model": "rsd", "prompt": "q?", "seed": 5, "temperature": 1.0}
    body |= {"logprobs": 2, "max_tokens": 100, "n": 2}
    whole = (await server.client.post("/v1/completions", json=body)).json()["choices"]
    for choice in whole:
        told, text = choice["logprobs"], choice["text"]
        places = zip(told["text_offset"], told["tokens"], strict=True)
        assert all(text[at:].startswith(token) for at, token in places)
        assert "".join(told["tokens"]) == text
        for token, logprob, top in zip(
            told["tokens"], told["token_logprobs"], told["top_logprobs"], strict=True
        ):
            assert top[token] == logprob <= max(top.values())
    lines = (await server.client.post("/v1/completions", json={**body, "stream": True})).text
    seen: dict[int, list[int]] = {0: [], 1: []}
    for line in lines.splitlines():
        if line.startswith("data: {"):
            for part in json.loads(line[6:])["choices"]:
                seen[part["index"]] += (part["logprobs"] or {}).get("text_offset", [])
    assert seen == {i: choice["logprobs"]["text_offset"] for i, choice in enumerate(whole)}


async def test_responses_have_them_where_they_are_included(start) -> None:
    server: Server = await start(pair())
    body = {"model": "rsd", "input": "q?", "seed": 5}
    plain = (await server.client.post("/v1/responses", json=body)).json()
    assert plain["output"][0]["content"][0]["logprobs"] == []
    body |= {"include": ["message.output_text.logprobs"], "top_logprobs": 1}
    part = (await server.client.post("/v1/responses", json=body)).json()["output"][0]["content"][0]
    assert joined(part["logprobs"]) == part["text"]
    assert {len(token["top_logprobs"]) for token in part["logprobs"]} == {1}
    lines = (await server.client.post("/v1/responses", json={**body, "stream": True})).text
    events = [json.loads(line[6:]) for line in lines.splitlines() if line.startswith("data: ")]
    deltas = [e for e in events if e["type"] == "response.output_text.delta"]
    assert [t for delta in deltas for t in delta["logprobs"]] == part["logprobs"]
    [done] = [e for e in events if e["type"] == "response.output_text.done"]
    assert done["logprobs"] == part["logprobs"]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"logprobs": True, "model": "speculative@3"}, "logprobs"),
    ],
)
async def test_what_cannot_be_told_is_refused_by_name(start, body: Any, param: str) -> None:
    server: Server = await start(pair())
    refused = await server.chat(**body)
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == param


async def test_models_without_probabilities_are_named(start) -> None:
    server: Server = await start()
    for stream in (False, True):
        refused = await server.chat(logprobs=True, stream=stream)
        assert refused.status_code == 400
        assert "the draft does not tell how likely" in refused.json()["error"]["message"]


async def test_what_is_told_of_an_answer_is_what_is_told_of_a_prompt(family: Process) -> None:
    """The same tokens by two routes: written by the target, and read by it with `echo`."""
    async with openai.AsyncOpenAI(base_url=family.base_url, api_key="none") as client:
        prompt = f"Question: {FAMILY_QUESTION}\nAnswer:"
        wrote = await client.completions.create(
            model="rsd/target", prompt=prompt, max_tokens=40, logprobs=3, temperature=0, seed=1
        )
        written: Any = wrote.choices[0].logprobs
        read = await client.completions.create(
            model="rsd", prompt=prompt + wrote.choices[0].text, max_tokens=0, logprobs=3, echo=True
        )
        echoed: Any = read.choices[0].logprobs
    count = len(written.tokens)
    assert count > 20
    assert echoed.tokens[-count:] == written.tokens
    assert echoed.token_logprobs[-count:] == pytest.approx(written.token_logprobs, abs=1e-4)
    for ours, theirs in zip(written.top_logprobs, echoed.top_logprobs[-count:], strict=True):
        assert ours == pytest.approx(theirs, abs=1e-4)


def test_the_official_client_reads_them(family: Process) -> None:
    client = openai.OpenAI(base_url=family.base_url, api_key="none")
    body: Any = {k: v for k, v in asked().items() if k != "messages"}
    body["messages"] = [{"role": "user", "content": FAMILY_QUESTION}]
    with client.beta.chat.completions.stream(
        **body, seed=0, logprobs=True, top_logprobs=2
    ) as stream:
        told = [t for e in stream if e.type == "logprobs.content.delta" for t in e.content]
        message = stream.get_final_completion().choices[0].message.content
    assert "".join(token.token for token in told) == message
    assert all(len(token.top_logprobs) == 2 for token in told)
