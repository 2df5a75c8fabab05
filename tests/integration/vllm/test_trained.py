"""What `rsd prm train` has trained, served by vLLM: the rewards of plain transformers.

vLLM reads token classifiers by itself, and Skywork's layout with our plug-in.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import Qwen2ForCausalLM

from rsdecode.backends.transformers.load import LoadOptions
from rsdecode.config import load_config
from rsdecode.config.specs import parse_reward_spec
from rsdecode.config.vllm import VllmServers
from rsdecode.core.errors import RsdError
from rsdecode.core.types import Role
from rsdecode.rewards.load import load_reward_model
from rsdecode.text.pretrained import load_tokenizer
from rsdecode.text.vocabulary import Vocabulary
from rsdecode.training.train_data import Example, make_examples
from rsdecode.training.train_plan import plan_training
from rsdecode.training.train_run import run_training
from rsdecode.training.train_save import largest_difference, score_loaded, score_plainly
from rsdecode.training.train_settings import Layout, Part, TrainSettings
from tests.rewards import tiny
from tests.training.labels import write_folder

pytestmark = pytest.mark.integration

USUAL = TrainSettings(mark="\n\n", epochs=4, rate=2e-3, max_tokens=512)
WIDENED = replace(USUAL, part=Part.LAYERS, new_layers=2, widen=True)
SETTINGS = {layout.value: replace(USUAL, layout=layout) for layout in Layout} | {"widened": WIDENED}


def backbone(folder: Path) -> Path:
    """Heads of 64, which vLLM's attention on processors can do."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 128, "intermediate_size": 192, "head_dim": 64}
    Qwen2ForCausalLM(tiny.config(**sizes)).save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=SETTINGS)
def trained(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Layout, list[Example]]:
    """A reward model that a few updates have taught something, and held-out solutions."""
    folder = tmp_path_factory.mktemp("trained")
    settings = SETTINGS[request.param]
    labels = write_folder(folder / "labels", train=64, held_out=24)
    spec = "abacus:target" if settings.widen else f"hf:{backbone(folder / 'backbone')}"
    plan = plan_training(settings, spec, [labels])
    out = folder / "prm"
    run_training(plan, out, "cpu", lambda _: None)
    words = Vocabulary(load_tokenizer(str(out)))
    return out, settings.layout, make_examples(plan.held_out, words, settings, 1024).examples


def served(path: Path, examples: list[Example]) -> list[list[float]]:
    overrides = {"reward.spec": f"vllm:{path}", "engine.dtype": "float32", "engine.slots": 8}
    servers = VllmServers(load_config(overrides=overrides), [Role.REWARD])
    try:
        reward = servers.reward_model(parse_reward_spec(f"vllm:{path}"))
        return asyncio.run(score_loaded(reward, examples))
    finally:
        servers.close()


@pytest.mark.parametrize("plugins", ["rsdecode", ""], ids=["with-plug-in", "without"])
def test_rewards_are_those_of_transformers(
    trained: tuple[Path, Layout, list[Example]], plugins: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, layout, examples = trained
    monkeypatch.setenv("VLLM_PLUGINS", plugins)
    plain = score_plainly(path, layout, examples)
    assert max(map(max, plain)) - min(map(min, plain)) > 0.2  # they tell steps apart
    ours = load_reward_model(str(path), LoadOptions(device="cpu", dtype="float32"))
    try:
        assert largest_difference(asyncio.run(score_loaded(ours, examples)), plain) < 1e-3
    finally:
        ours.close()
    if layout is Layout.VALUE_HEAD and not plugins:
        with pytest.raises(RsdError, match="Qwen2ForPrmModel"):
            served(path, examples)
        return
    assert largest_difference(served(path, examples), plain) < 1e-3
