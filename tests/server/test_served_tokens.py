"""Tokens and likelihoods of targets that are served: by a tokenizer known here, or there."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

import pytest

from rsdecode.backends.openai_http import Address, HttpSettings, ServedModel, Transport
from rsdecode.backends.transformers.model import LocalModel, load_model
from rsdecode.core.protocols import Models
from rsdecode.models.abacus import model_path
from tests.backends.openai_http.local_server import LocalServer
from tests.backends.openai_http.model_server import NAME, Completions
from tests.server.conftest import FAMILY_QUESTION, Server

CHAT = [{"role": "user", "content": FAMILY_QUESTION}]


@pytest.fixture(scope="module")
def model():
    loaded = load_model(str(model_path("target")))
    yield loaded
    loaded.close()


@pytest.fixture
async def serve(start, model: LocalModel):
    """A server of ours whose target is behind another one."""
    async with AsyncExitStack() as stack:

        async def serve(kind: str = "vllm", *, tokenizer: bool = False) -> Server:
            behind = await stack.enter_async_context(LocalServer(Completions(model, kind)))
            transport = Transport(Address((behind.url,), NAME), HttpSettings(attempts=1))
            known = model._tokenizer if tokenizer else None
            served = ServedModel(transport, tokenizer=known)
            stack.callback(served.close)
            return await start(Models(target=served), config={"method": "target"})

        yield serve


async def post(server: Server, path: str, **body: Any) -> Any:
    return await server.client.post(path, json=body)


@pytest.mark.parametrize("tokenizer", [True, False])
async def test_tokens_are_those_of_the_model(serve, model: LocalModel, tokenizer: bool) -> None:
    server = await serve(tokenizer=tokenizer)
    ids = (await post(server, "/tokenize", messages=CHAT)).json()
    assert tuple(ids["tokens"]) == model.codec.chat_ids(model_messages())
    assert ids["count"] == len(ids["tokens"])
    text = (await post(server, "/detokenize", tokens=ids["tokens"])).json()["prompt"]
    assert text == model.codec.text(ids["tokens"])
    plain = (await post(server, "/tokenize", prompt="2 + 2", add_special_tokens=False)).json()
    assert model.codec.text(plain["tokens"]) == "2 + 2"
    asked: dict[str, Any] = {"max_tokens": 60, "temperature": 0, "seed": 1}
    by_ids = await post(server, "/v1/completions", prompt=ids["tokens"], **asked)
    by_text = await post(server, "/v1/completions", prompt=text, **asked)
    assert by_ids.json()["choices"] == by_text.json()["choices"]
    assert "\\boxed" in by_ids.json()["choices"][0]["text"]


def model_messages() -> Any:
    from rsdecode.core.types import Message

    return (Message("user", FAMILY_QUESTION),)


@pytest.mark.parametrize("limit", [0, 1])
async def test_likelihoods_of_a_prompt_are_those_in_process(
    serve, start, model: LocalModel, limit: int
) -> None:
    server: Server = await serve(tokenizer=True)
    local: Server = await start(Models(target=model), config={"method": "target"})
    asked: dict[str, Any] = {"prompt": ["7 + 5 = 12 coins.", f"{FAMILY_QUESTION} 9"], "echo": True}
    asked |= {"logprobs": 3, "max_tokens": limit}
    found = (await post(server, "/v1/completions", **asked)).json()["choices"]
    expected = (await post(local, "/v1/completions", **asked)).json()["choices"]
    for ours, theirs in zip(found, expected, strict=True):
        assert ours["text"] == theirs["text"]
        for name in ("tokens", "text_offset"):
            assert ours["logprobs"][name] == theirs["logprobs"][name]
        one, other = ours["logprobs"]["token_logprobs"], theirs["logprobs"]["token_logprobs"]
        assert one[0] is None
        assert one[1:] == pytest.approx(other[1:], abs=1e-4)
        tables = zip(
            ours["logprobs"]["top_logprobs"], theirs["logprobs"]["top_logprobs"], strict=True
        )
        for mine, its in list(tables)[1:]:
            assert mine == pytest.approx(its, abs=1e-4)


async def test_what_a_server_does_not_tell_is_refused_with_the_remedy(serve) -> None:
    plain: Server = await serve("plain")
    for path, body in (
        ("/tokenize", {"prompt": "a"}),
        ("/detokenize", {"tokens": [1]}),
        ("/v1/completions", {"prompt": [1, 2]}),
    ):
        refused = await post(plain, path, **body)
        assert refused.status_code == 400
        assert "--target-tokenizer" in refused.json()["error"]["message"]
    unnamed: Server = await serve()
    for body in ({"echo": True, "logprobs": 1, "max_tokens": 0},):
        refused = await post(unnamed, "/v1/completions", prompt="a", **body)
        assert refused.status_code == 400
        assert "target_tokenizer" in refused.json()["error"]["message"]
    info = await unnamed.client.get("/tokenizer_info")
    assert info.status_code == 400
    told = await post(plain, "/v1/chat/completions", model="rsd", messages=CHAT, logprobs=True)
    assert told.status_code == 400
    assert told.json()["error"]["param"] == "logprobs"
