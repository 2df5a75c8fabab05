"""Rewards that are read from served models' words: the same as from those of this process."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from rsdecode.backends.openai_http import Address, HttpSettings, ServedModel, Transport
from rsdecode.backends.openai_http.rendering import Renderer
from rsdecode.backends.transformers.model import LocalModel, load_model
from rsdecode.core.errors import ConfigError
from rsdecode.core.requests import Failed, Generate, Generated
from rsdecode.core.segment import WHOLE_ANSWER
from rsdecode.core.types import Context, LastMessage, Role
from rsdecode.rewards.implicit import ImplicitReward
from rsdecode.rewards.verifier import VerifierReward
from rsdecode.rewards.verifier_form import FORMS
from tests.backends.openai_http.local_server import LocalServer
from tests.backends.openai_http.model_server import NAME, Completions
from tests.rewards import tiny

# Rewards behind servers ask them at once whether they can: from a thread, as the servers of these
# tests are in the test's own event loop.
GREEDY = {"temperature": 0.0, "tokens": 6}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LocalModel, LocalModel]]:
    """Two language models that differ; they write letters, which are read again as written."""
    import torch

    loaded: list[LocalModel] = []
    for name, seed in (("one", 4), ("other", 9)):
        folder, network = tiny.save_causal(tmp_path_factory.mktemp(name))
        torch.manual_seed(seed)
        with torch.no_grad():
            network.lm_head.weight.normal_(std=0.2)
            network.lm_head.weight[94:] = 0.0
        network.save_pretrained(folder)
        loaded.append(load_model(str(folder), replace(tiny.OPTIONS, slots=8)))
    yield loaded[0], loaded[1]
    for model in loaded:
        model.close()


def served(server: LocalServer, *, tokenizer: bool) -> ServedModel:
    transport = Transport(Address((server.url,), NAME), HttpSettings(attempts=1))
    return ServedModel(transport, tokenizer=tiny.tokenizer() if tokenizer else None)


@pytest.mark.parametrize("form", FORMS)
async def test_verifiers(models: tuple[LocalModel, LocalModel], form: str) -> None:
    model, _ = models
    asked = [tiny.PROBLEMS[0], tiny.PROBLEMS[4]]
    expected = await VerifierReward(model, FORMS[form], **GREEDY).score(asked)  # type: ignore[arg-type]
    async with LocalServer(Completions(model)) as server:
        model_there, form_there = served(server, tokenizer=True), FORMS[form]
        verifier = await asyncio.to_thread(VerifierReward, model_there, form_there, **GREEDY)  # type: ignore[arg-type]
        found = await verifier.score(asked)
        verifier.close()
    assert tiny.rewards(found) == [pytest.approx(each, abs=1e-4) for each in tiny.rewards(expected)]
    for ours, theirs in zip(found, expected, strict=True):
        assert not isinstance(ours, Failed)
        assert not isinstance(theirs, Failed)
        assert ours.usage.decoded_tokens >= theirs.usage.decoded_tokens > 0


async def test_implicit_rewards(models: tuple[LocalModel, LocalModel]) -> None:
    model, reference = models
    expected = tiny.rewards(await ImplicitReward(model, reference, beta=0.2).score(tiny.PROBLEMS))
    async with (
        LocalServer(Completions(model)) as server,
        LocalServer(Completions(reference)) as other,
    ):
        pair = served(server, tokenizer=True), served(other, tokenizer=True)
        implicit = await asyncio.to_thread(ImplicitReward, *pair, beta=0.2)
        found = tiny.rewards(await implicit.score(tiny.PROBLEMS))
        implicit.close()
    assert found == [pytest.approx(each, abs=1e-4) for each in expected]
    assert max(map(max, expected)) - min(map(min, expected)) > 0.02


def unopened(effort: str | None = None) -> Generate:
    """A question whose reply no template opens."""
    last = LastMessage("user", "How many?", opens=False, effort=effort)
    return Generate(Role.REWARD, Context((last,)), 4, WHOLE_ANSWER)


async def test_vllm_renders_a_conversation_as_it_is_told(
    models: tuple[LocalModel, LocalModel],
) -> None:
    async with LocalServer(Completions(models[0])) as server:
        [reply] = await served(server, tokenizer=False).generate([unopened("low")])
    assert isinstance(reply, Generated)
    *_, body = [
        body for path, body in server.requests if path == "/tokenize" and "messages" in body
    ]
    assert body["add_generation_prompt"] is False
    assert body["chat_template_kwargs"] == {
        **{"enable_thinking": True, "thinking": True},
        "reasoning_effort": "low",
    }


@pytest.mark.parametrize("template", ["chat", "text"])
async def test_a_server_that_always_opens_replies_needs_a_tokenizer(template: str) -> None:
    renderer = Renderer(None, "{question}", NAME, {})
    abilities: Any = SimpleNamespace(template=template, takes_ids=False)
    nowhere: Any = None
    with pytest.raises(ConfigError, match="--reward-tokenizer"):
        await renderer.render(nowhere, abilities, unopened().context)
