"""Tiny reward models served by vLLM, natively and by our plugin, against Hugging Face."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Qwen2Model

from rsdecode.config import load_config
from rsdecode.config.specs import parse_reward_spec
from rsdecode.config.vllm import VllmServers
from rsdecode.core.types import Role
from rsdecode.rewards.token_classifier import QwenPrmFormat
from rsdecode.rewards.value_head import ValueHeadFormat
from rsdecode.text.pretrained import load_tokenizer
from rsdecode.text.vocabulary import Vocabulary
from tests.rewards import tiny

pytestmark = pytest.mark.integration


def backbone() -> Any:
    """Heads of 64, which vLLM's attention on processors can do."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 128, "intermediate_size": 192, "head_dim": 64}
    return Qwen2Model(tiny.config(**sizes)).eval()


def skywork(folder: Path, prefix: str) -> tuple[Path, Any, Any]:
    model, head = backbone(), tiny.linear(128, 1, seed=1)
    heads = {"v_head.summary": head}
    path = tiny.save(folder, model, heads, "Qwen2ForPrmModel", prefix=prefix)
    return path, model, lambda hidden: head(hidden)[..., 0].sigmoid()


def qwen(folder: Path, prefix: str) -> tuple[Path, Any, Any]:
    model, first, second = backbone(), tiny.linear(128, 128, seed=1), tiny.linear(128, 2, seed=2)
    heads = {"score.0": first, "score.2": second}
    path = tiny.save(folder, model, heads, "Qwen2ForProcessRewardModel", prefix=prefix)
    return path, model, lambda hidden: second(first(hidden).relu()).softmax(-1)[..., 1]


@pytest.mark.parametrize(
    ("make", "form", "prefix"),
    [
        (skywork, ValueHeadFormat, "model."),
        (skywork, ValueHeadFormat, "pretrained_model.model."),
        (qwen, QwenPrmFormat, "model."),
    ],
    ids=["skywork", "skywork-trl", "qwen"],
)
def test_scores(tmp_path: Path, make: Any, form: Any, prefix: str) -> None:
    path, model, head = make(tmp_path / "model", prefix)
    overrides = {"reward.spec": f"vllm:{path}", "engine.dtype": "float32", "engine.slots": 8}
    servers = VllmServers(load_config(overrides=overrides), [Role.REWARD])
    try:
        reward = servers.reward_model(parse_reward_spec(f"vllm:{path}"))
        found = tiny.rewards(asyncio.run(reward.score(tiny.PROBLEMS)))
    finally:
        servers.close()

    format = form(Vocabulary(load_tokenizer(str(path))))
    for request, rewards in zip(tiny.PROBLEMS, found, strict=True):
        ids = list(format.prompt_ids(request.context.messages))
        marks = []
        for index, text in enumerate(tiny.steps_of(request)):
            ids += format.step_ids(text, index)
            marks.append(len(ids) - 1)
        with torch.inference_mode():
            values = head(model(torch.tensor([ids])).last_hidden_state[0])
        expected = values[marks[-len(request.steps) :]].tolist()
        assert rewards == pytest.approx(expected, abs=1e-3)
