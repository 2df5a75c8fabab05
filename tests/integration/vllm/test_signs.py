"""Rewards that are read from a language model's words, on vLLM and in this process: the same."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Qwen2ForCausalLM

from rsdecode.backends.vllm_server.placement import Task
from rsdecode.config import RunConfig, load_config
from rsdecode.config.build import ModelBuilder
from rsdecode.config.specs import parse_reward_spec
from rsdecode.config.vllm import VllmServers
from rsdecode.core.requests import Failed, Score
from rsdecode.core.types import Role
from rsdecode.rewards import load_reward_model
from tests.rewards import tiny

pytestmark = pytest.mark.integration
CONTEXT = 896
KIND = "plus-minus-raw"


def save(folder: Path, seed: int) -> str:
    """Heads of 64, which vLLM's attention on processors can do."""
    torch.manual_seed(seed)
    sizes = {"hidden_size": 128, "intermediate_size": 192, "head_dim": 64}
    Qwen2ForCausalLM(tiny.config(**sizes)).eval().save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str, Any]]:
    """A language model's folder, its address, and the reward that vLLM reads from its signs."""
    path = save(tmp_path_factory.mktemp("model"), 4)
    spec = f"vllm:{path}"
    overrides = {
        "reward.spec": spec,
        "reward.kind": KIND,
        "engine.dtype": "float32",
        "engine.slots": 8,
        "vllm.reward.max_model_len": CONTEXT,
    }
    servers = VllmServers(load_config(overrides=overrides), [Role.REWARD])
    try:
        reward = servers.reward_model(parse_reward_spec(spec))
        server = servers._server(parse_reward_spec(spec), Task.GENERATE)
        yield path, f"{server.url}#{server.name}", reward
    finally:
        servers.close()


SHORT = [*tiny.PROBLEMS[:3], *tiny.PROBLEMS[4:]]
"""Without the long one, which has no room for a verification."""


def of_spec(
    spec: str, tokenizer: str, problems: Sequence[Score] = tiny.PROBLEMS
) -> list[tuple[float, ...]]:
    """The rewards of a spec."""
    settings = {
        "reward": {"spec": spec, **({"tokenizer": tokenizer} if "http" in spec else {})},
        "engine": {"device": "cpu", "slots": 8, "dtype": "float32"},
    }
    builder = ModelBuilder(RunConfig.model_validate(settings))
    try:
        return tiny.rewards(asyncio.run(builder.reward().score(problems)))
    finally:
        builder.close()


def test_signs(served: tuple[str, str, Any]) -> None:
    path, _, reward = served
    local = load_reward_model(path, tiny.OPTIONS, KIND)
    expected = tiny.rewards(asyncio.run(local.score(tiny.PROBLEMS)))
    local.close()
    found = tiny.rewards(asyncio.run(reward.score(tiny.PROBLEMS)))
    assert found == [pytest.approx(listed, abs=1e-3) for listed in expected]
    assert max(map(max, expected)) - min(map(min, expected)) > 0.02


def test_what_vllm_would_cut_is_refused(served: tuple[str, str, Any]) -> None:
    long = tiny.request("How many?", [], ["y" * (CONTEXT + 50)])
    refused, fine = asyncio.run(served[2].score([long, tiny.PROBLEMS[2]]))
    assert isinstance(refused, Failed)
    assert f"has read {CONTEXT - 1} of" in str(refused.error)
    assert tiny.rewards([fine])


@pytest.mark.parametrize(
    "spec", ["verifier:tokens=6:{}", "verifier:form=genprm:temperature=0:tokens=6:{}"]
)
def test_verifiers(served: tuple[str, str, Any], spec: str) -> None:
    path, address, _ = served
    here = of_spec(spec.format(f"hf:{path}"), path, SHORT)
    there = of_spec(spec.format(address), path, SHORT)
    assert there == [pytest.approx(listed, abs=2e-3) for listed in here]


def test_implicit_rewards(served: tuple[str, str, Any], tmp_path: Path) -> None:
    path, address, _ = served
    other = save(tmp_path, 9)
    here = of_spec(f"implicit:beta=0.2:hf:{path},hf:{other}", path)
    there = of_spec(f"implicit:beta=0.2:{address},hf:{other}", path)
    assert there == [pytest.approx(listed, abs=2e-3) for listed in here]
    assert max(map(max, here)) - min(map(min, here)) > 0.02
