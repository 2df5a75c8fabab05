"""Reward models whose network llama.cpp runs, against a plain forward pass of transformers."""

from __future__ import annotations

import json
import shutil
from contextlib import contextmanager

import pytest

from rsdecode.backends.llama_cpp import LlamaCppOptions
from rsdecode.config import RunConfig
from rsdecode.config.build import ModelBuilder
from rsdecode.core.errors import ConfigError, ModelLoadError
from rsdecode.core.requests import Failed
from rsdecode.rewards.gguf import load_gguf_reward
from rsdecode.rewards.settings import RewardSettings
from tests.rewards import test_checkpoints as checkpoints
from tests.rewards import tiny, tiny_gguf
from tests.rewards.tiny import PROBLEMS, rewards

pytest.importorskip("gguf")
pytest.importorskip("xllamacpp")
OPTIONS = LlamaCppOptions(slots=2, threads=1)
CASES = {
    name: case
    for name, case in checkpoints.CASES.items()
    if name not in ("value-head on llama", "value-head on gpt2")
}


@contextmanager
def loaded(file, kind=None, place=None, **settings):
    reward = load_gguf_reward(
        file, OPTIONS, kind=kind, place=place, settings=RewardSettings(**settings)
    )
    try:
        yield reward
    finally:
        reward.close()


@pytest.mark.parametrize("name", CASES)
async def test_equals_a_plain_forward_pass(name, tmp_path):
    make, kind = CASES[name]
    folder, reference = make(tmp_path)
    expected = checkpoints.flat([tuple(reference(problem)) for problem in PROBLEMS])
    file = tiny_gguf.write(folder, folder / "network.gguf")
    with loaded(file, kind) as reward:
        batched = checkpoints.flat(rewards(await reward.score(PROBLEMS)))
        alone = checkpoints.flat([rewards(await reward.score([p]))[0] for p in PROBLEMS])
        told = reward.describe()
    assert batched == pytest.approx(expected, abs=0.01)
    assert alone == pytest.approx(expected, abs=0.01)
    assert max(expected) - min(expected) > 0.02, "the test could not tell rewards apart"
    assert told["network"] == str(file)
    assert told["kind"].endswith("its network on llama.cpp")
    signs = name.startswith("plus-minus")
    assert ("good sign" in told) == signs
    kept = "reward_head.pt" if name == "reward-head" else "head.safetensors"
    assert told.get("head") == (None if signs else str(folder / kept))


async def test_signs_read_only_what_is_new_and_heads_everything(tmp_path):
    question, steps = "How many apples are there?", [f"There are {i}.\n\n" for i in range(4)]
    asked = [tiny.request(question, steps[:end], steps[end : end + 1]) for end in range(4)]
    folder, _ = checkpoints.plus_minus(tmp_path / "signs")
    with loaded(tiny_gguf.write(folder, folder / "n.gguf"), "plus-minus") as reward:
        used = [reply.usage for request in asked for reply in await reward.score([request])]
    assert all(usage.prefill_tokens < 40 < usage.cached_tokens for usage in used[1:])
    folder, _ = checkpoints.qwen_prm(tmp_path / "head")
    with loaded(tiny_gguf.write(folder, folder / "n.gguf")) as reward:
        used = [reply.usage for request in asked for reply in await reward.score([request])]
    assert all(usage.cached_tokens == 0 for usage in used)
    assert used[-1].prefill_tokens > used[0].prefill_tokens + 30


async def test_a_context_beyond_the_window_fails_alone(tmp_path):
    folder, _ = checkpoints.qwen_prm(tmp_path)
    with loaded(tiny_gguf.write(folder, folder / "n.gguf")) as reward:
        long = tiny.request("x" * tiny.CONTEXT, [], ["One."])
        almost = tiny.request("x" * 600, [], ["y" * 250])
        [first, second, third] = await reward.score([long, almost, PROBLEMS[2]])
    assert isinstance(first, Failed)
    assert rewards([second, third])


def test_the_shape_has_the_head_and_no_output_layer(tmp_path):
    folder, _ = checkpoints.qwen_prm(tmp_path)
    with checkpoints.loaded(folder) as here:
        shape = here.shape
    with loaded(tiny_gguf.write(folder, folder / "n.gguf")) as reward:
        assert reward.shape == shape


def test_what_is_missing_is_named(tmp_path):
    folder, _ = checkpoints.qwen_prm(tmp_path / "whole")
    file = tiny_gguf.write(folder, tmp_path / "alone.gguf", slim=False)
    with pytest.raises(ModelLoadError, match=r"holds no reward head.*--reward-tokenizer.*judge:"):
        load_gguf_reward(file, OPTIONS)
    with loaded(file, place=str(folder)) as reward:
        assert reward.describe()["head"] == str(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelLoadError, match=r"head's tensors are wanted.*head\.safetensors"):
        load_gguf_reward(file, OPTIONS, place=str(folder))
    other, _ = checkpoints.plus_minus(tmp_path / "other")
    with pytest.raises(ModelLoadError, match="cannot tell what kind"):
        load_gguf_reward(file, OPTIONS, place=str(other))


def test_what_does_not_fit_the_file_is_refused(tmp_path):
    folder, _ = checkpoints.qwen_prm(tmp_path / "whole")
    file = tiny_gguf.write(folder, tmp_path / "alone.gguf", slim=False)
    words = tiny.tokenizer(shepherd=False)
    words.add_tokens(["another"])
    shutil.copytree(folder, tmp_path / "foreign")
    words.save_pretrained(tmp_path / "foreign")
    with pytest.raises(ModelLoadError, match=r"token \d+ is 'another', the file's is 'ки'"):
        load_gguf_reward(file, OPTIONS, place=str(tmp_path / "foreign"))
    import torch

    heads = {"score.0": torch.nn.Linear(32, 32), "score.2": torch.nn.Linear(32, 2)}
    small = tiny.save(tmp_path / "small", tiny.backbone(), heads, "Qwen2ForProcessRewardModel")
    with pytest.raises(ModelLoadError, match="of 32 numbers, but the GGUF file's have 64"):
        load_gguf_reward(file, OPTIONS, place=str(small))


async def test_a_configuration_names_it(tmp_path):
    folder, reference = checkpoints.qwen_prm(tmp_path / "whole")
    file = tiny_gguf.write(folder, tmp_path / "alone.gguf", slim=False)
    settings = {
        "reward": {"spec": f"gguf:{file}", "tokenizer": str(folder)},
        "llamacpp": {"slots": 1, "threads": 1},
    }
    builder = ModelBuilder(RunConfig.model_validate(settings))
    try:
        [reply] = await builder.reward().score(PROBLEMS[:1])
    finally:
        builder.close()
    assert reply.rewards == pytest.approx(reference(PROBLEMS[0]), abs=0.01)
    settings["llamacpp"]["dequantise"] = True
    with pytest.raises(ConfigError, match="--dequantise"):
        ModelBuilder(RunConfig.model_validate(settings)).reward()
    assert json.loads((folder / "config.json").read_text())
