from __future__ import annotations

import re

import pytest

from rsdecode.backends.vllm_server import Footprint, Gpu, Machine
from rsdecode.config import RunConfig, load_config, vllm
from rsdecode.config.presets import preset_names
from rsdecode.core.errors import ConfigError

KNOWN = {
    # parameters, layers, key-value heads, head size, context, heads
    "Qwen2.5-Math-1.5B-Instruct": (1.54e9, 28, 2, 128, 4096, 12),
    "Qwen2.5-Math-7B-Instruct": (7.62e9, 28, 4, 128, 4096, 28),
    "Qwen2.5-Math-72B-Instruct": (72.7e9, 80, 8, 128, 4096, 64),
    "Qwen2.5-Math-PRM-7B": (7.08e9, 28, 4, 128, 4096, 28),
    "Skywork-o1-Open-PRM-Qwen-2.5-1.5B": (1.54e9, 28, 2, 128, 4096, 12),
    "Skywork-o1-Open-PRM-Qwen-2.5-7B": (7.07e9, 28, 4, 128, 4096, 28),
    "Llama-3.2-1B-Instruct": (1.24e9, 16, 8, 64, 131072, 32),
    "Llama-3.1-8B-Instruct": (8.03e9, 32, 8, 128, 131072, 32),
}
CARD = 80 * 10**9


def footprint(model: str, dtype: str) -> Footprint:
    assert dtype == "bfloat16"
    size, layers, kv_heads, head, context, heads = KNOWN[model.rpartition("/")[2]]
    kind = "Qwen2ForProcessRewardModel" if "Math-PRM" in model else "Qwen2ForPrmModel"
    return Footprint(int(2 * size), 4 * layers * kv_heads * head, context, heads, kind)


def step_tag(*_: object) -> int:
    return 151651


def gpus_of(name: str) -> int:
    stated = re.search(r"(\d)gpus", name)
    return int(stated[1]) if stated else 1


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_fits_the_cards_that_it_names(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm, "read_footprint", footprint)
    monkeypatch.setattr(vllm, "_step_tag", step_tag)
    config = load_config(f"preset:{name}")
    machine = Machine(tuple(Gpu(str(i), CARD) for i in range(gpus_of(name))))
    plans = vllm.plan_servers(config, config.roles, machine)
    assert [placed.spec.name for placed in plans] == ["draft", "target", "reward"]
    for gpu in machine.gpus:
        here = [placed for placed in plans if gpu in placed.gpus]
        assert here, "a GPU is left idle"
        assert sum(placed.memory for placed in here) <= 0.92 + 1e-9
    for placed in plans:
        assert placed.kv_bytes >= 32 * placed.spec.kv_bytes, placed.describe()
        weights = placed.spec.footprint.weight_bytes / len(placed.gpus)
        kv = placed.kv_bytes / len(placed.gpus)
        assert weights + kv + 2e9 < placed.memory * CARD


def test_every_combination_of_the_paper_is_there() -> None:
    pairs = {(config.draft, config.target) for config in map(preset, preset_names())}
    assert len(pairs) == 3
    rewards = {preset(name).reward.spec.rpartition("/")[2] for name in preset_names()}
    assert rewards == {model for model in KNOWN if "PRM" in model}


def preset(name: str) -> RunConfig:
    return load_config(f"preset:{name}")


def test_options_win_over_a_preset() -> None:
    config = load_config("preset:math-1.5b-7b", {"weighting.threshold": 0.9})
    assert config.weighting.threshold == 0.9
    assert config.draft == "vllm:Qwen/Qwen2.5-Math-1.5B-Instruct"


def test_an_unknown_preset_lists_the_known() -> None:
    with pytest.raises(ConfigError, match="did you mean math-1") as caught:
        load_config("preset:math-1b-7b")
    assert "llama-1b-8b-3gpus" in str(caught.value)
