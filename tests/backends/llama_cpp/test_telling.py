"""What a GGUF file's clients are told: likely tokens in each place, and token ids."""

from __future__ import annotations

from dataclasses import replace

import httpx2
import pytest

from rsdecode.backends.llama_cpp import LlamaCppOptions, load_llama_cpp
from rsdecode.config import RunConfig
from rsdecode.config.build import build_models
from rsdecode.core.errors import RequestError
from rsdecode.core.requests import Failed, Generate, Generated, Sampling
from rsdecode.core.segment import WHOLE_ANSWER, Boundary
from rsdecode.core.types import Context, Message, RawPrompt, Role
from rsdecode.server.app import create_app
from rsdecode.server.keys import Keys
from rsdecode.server.service import Service
from tests.backends.llama_cpp import tiny_gguf

pytest.importorskip("gguf")
pytest.importorskip("xllamacpp")
torch = pytest.importorskip("torch")
OPTIONS = LlamaCppOptions(slots=2, max_context=256, threads=1)
BOUNDARIES = [Boundary(stops=("\n",)), Boundary(tokens=8), WHOLE_ANSWER]
LAWS = [Sampling(0.0), Sampling(1.0), Sampling(0.6, top_p=0.9)]
TOLERANCE: dict[str, float] = {"abs": 0.03, "rel": 1e-3}
"""llama.cpp keeps keys and values in float16."""


@pytest.fixture(scope="module")
def model(file):
    made = load_llama_cpp(file, OPTIONS)
    yield made
    made.close()


def asking(question, boundary=WHOLE_ANSWER, sampling=LAWS[0], seed=1, tokens=24):
    context = Context((Message("user", question),))
    request = Generate(Role.DRAFT, context, tokens, boundary, sampling, seed, "told")
    return replace(request, told=3)


async def told_and_plain(model, network, request):
    """What it tells of a reply, and the logits [T, V] of one pass of the same weights."""
    [reply] = await model.generate([request])
    assert isinstance(reply, Generated), reply
    before = await model.tokenize_chat(request.context.messages)
    ids = reply.segment.tokens.ids
    with torch.inference_mode():
        logits = network(torch.tensor([[*before, *ids]])).logits[0, len(before) - 1 : -1]
    return reply.segment, logits.log_softmax(-1)


@pytest.mark.parametrize("boundary", BOUNDARIES, ids=["line", "chunk", "whole"])
@pytest.mark.parametrize("sampling", LAWS, ids=["greedy", "plain", "warped"])
async def test_tokens_are_told_under_the_models_own_law(model, file, boundary, sampling):
    network = tiny_gguf.network(file)
    for seed in range(3):
        request = asking("Tell.", boundary, sampling, seed=seed)
        segment, logprobs = await told_and_plain(model, network, request)
        assert len(segment.told) == len(segment.tokens.ids)
        assert "".join(token.text for token in segment.told) == segment.text
        own = logprobs[range(len(segment.told)), list(segment.tokens.ids)].tolist()
        assert [token.logprob for token in segment.told] == pytest.approx(own, **TOLERANCE)
        best = logprobs.topk(3).values.tolist()
        for token, expected in zip(segment.told, best, strict=True):
            assert [p for _, p in token.top] == pytest.approx(expected, **TOLERANCE)


async def test_parts_of_a_character_are_told_without_alternatives(tmp_path):
    """llama.cpp says nothing of a token that leaves a character unfinished."""
    bytes_of = [*"\u00e9\u00df\u4e2d\U0001f642".encode(), 97]
    file = tiny_gguf.write(tmp_path / "bytes.gguf", spelled=bytes_of, ends=0.0)
    model = load_llama_cpp(file, OPTIONS)
    try:
        network, parts = tiny_gguf.network(file), 0
        for seed in range(6):
            request = asking("x", sampling=Sampling(1.0), seed=seed, tokens=30)
            segment, logprobs = await told_and_plain(model, network, request)
            own = logprobs[range(len(segment.told)), list(segment.tokens.ids)].tolist()
            assert [token.logprob for token in segment.told] == pytest.approx(own, **TOLERANCE)
            assert all(token.top for token in segment.told if token.text == "a")
            parts += sum(not token.top for token in segment.told)
        assert parts > 0
    finally:
        model.close()


async def test_two_laws_at_once_are_refused(file):
    model = load_llama_cpp(file, OPTIONS)
    model.tell_logprobs()
    try:
        for sampling in LAWS[:2]:
            [reply] = await model.generate([asking("Both?", sampling=sampling)])
            assert len(reply.segment.logprobs) >= len(reply.segment.told) > 0
        [reply] = await model.generate([asking("Both?", sampling=LAWS[2])])
        assert isinstance(reply, Failed)
        assert "one law at a time" in str(reply.error)
    finally:
        model.close()


async def test_texts_become_ids_and_ids_texts(model):
    text = "the <|im_end|> \U0001f642"
    ids = await model.tokenize(text)
    assert await model.detokenize(ids) == text
    chat = await model.tokenize_chat((Message("user", "the"),))
    assert (
        await model.detokenize(chat) == "<|im_start|>user\nthe<|im_end|>\n<|im_start|>assistant\n"
    )
    assert await model.tokenize_chat((RawPrompt.of("the"),)) == await model.tokenize("the")
    with pytest.raises(RequestError, match="999999 is no token"):
        await model.detokenize([1, 999_999])


async def test_clients_of_a_server_get_them(file, tmp_path):
    spec = f"gguf:{file}"
    settings = {"draft": spec, "target": spec, "reward": {"spec": "confidence:draft"}}
    config = RunConfig.model_validate(settings | {"limits": {"max_tokens": 12}})
    models = build_models(config)
    service = Service(config, models)
    transport = httpx2.ASGITransport(app=create_app(service, Keys({})))
    try:
        async with httpx2.AsyncClient(transport=transport, base_url="http://rsd") as client:
            asked = {"model": "rsd/target", "messages": [{"role": "user", "content": "Hm?"}]}
            body = asked | {"logprobs": True, "top_logprobs": 2}
            choice = (await client.post("/v1/chat/completions", json=body)).json()["choices"][0]
            listed = choice["logprobs"]["content"]
            assert "".join(token["token"] for token in listed) == choice["message"]["content"]
            assert all(len(token["top_logprobs"]) == 2 for token in listed)
            ids = (await client.post("/tokenize", json={"prompt": "the end"})).json()["tokens"]
            back = await client.post("/detokenize", json={"tokens": ids})
            assert back.json() == {"prompt": "the end"}
            assert (await client.post("/detokenize", json={"tokens": [10**6]})).status_code == 400
        await service.close()
    finally:
        models.close()
