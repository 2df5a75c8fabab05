from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.backends.llama_cpp import tiny_gguf
from tests.rewards import test_checkpoints as checkpoints
from tests.rewards import tiny_gguf as tiny_gguf_reward

from .conftest import Rsd


def record(rsd: Rsd, *arguments: object, code: int) -> dict[str, Any]:
    result = rsd("doctor", "--json", *arguments)
    assert result.code == code, result
    found: dict[str, Any] = json.loads(result.out)
    assert found["ok"] is (code == 0)
    return found


def test_all_is_well(rsd: Rsd, models: list[str]) -> None:
    found = record(rsd, *models, code=0)
    assert sorted(found["roles"]) == ["draft", "reward", "target"]
    assert found["roles"]["draft"]["spec"] == models[1]
    assert found["roles"]["draft"]["kind"] == "scripted"
    assert {"python", "torch", "transformers", "cpu", "memory", "cuda"} <= set(found["environment"])
    assert len(found["config_hash"]) == 16
    shown = rsd("doctor", *models)
    assert shown.code == 0
    assert shown.out.endswith("all is well\n")


def test_a_failed_role_does_not_hide_the_next(rsd: Rsd, models: list[str]) -> None:
    options = (*models, "--draft", "hf:./nowhere", "--reward", "python:no_such_module:f")
    found = record(rsd, *options, code=1)
    assert len(found["failures"]) == 2
    assert found["failures"][0].startswith("draft: hf:./nowhere")
    assert found["failures"][1].startswith("reward: ")
    shown = rsd("doctor", *options)
    assert shown.code == 1
    assert shown.out.count("would fail: ") == 2
    assert "Traceback" not in shown.out + shown.err


@pytest.mark.parametrize(
    ("returned", "part"), [("float('nan')", "nan"), ("3", "3"), ("[][0]", "IndexError")]
)
def test_a_reward_is_tried(
    rsd: Rsd, models: list[str], tmp_path: Path, returned: str, part: str
) -> None:
    name = f"tried_reward_{abs(hash(returned))}"
    (tmp_path / f"{name}.py").write_text(f"def score(question, steps): return {returned}\n")
    found = record(rsd, *models, "--reward", f"python:{name}:score", code=1)
    [failure] = found["failures"]
    assert failure.startswith("reward: ")
    assert part in failure


def test_gates_say_what_is_read_and_are_tried(rsd: Rsd) -> None:
    likely = record(rsd, "--reward", "likelihood:target:min", code=0)["roles"]["reward"]
    assert likely["reads"].startswith("probability of the least likely token of each step under")
    assert "for a right step" in likely["trial"]
    bounds = ("--reward", "cascade:confidence:draft,abacus:prm", "--reward-bounds", "0.1,0.9")
    cascade = record(rsd, *bounds, code=0)["roles"]["reward"]
    assert cascade["reads"] == "the first; where it is in [0.1, 0.9), the second"
    assert "under the draft that wrote it" in cascade["first reads"]
    assert cascade["second kind"] == "value-head"
    assert cascade["trial"].startswith("reward ")


def test_a_gate_that_scripted_models_cannot_give_would_fail(rsd: Rsd, models: list[str]) -> None:
    found = record(rsd, *models, "--reward", "likelihood:target", code=1)
    assert "does not tell how likely it finds a given text" in found["failures"][0]


def test_only_the_roles_of_the_method_are_loaded(rsd: Rsd, models: list[str]) -> None:
    found = record(rsd, *models, "--method", "target", "--draft", "hf:./nowhere", code=0)
    assert list(found["roles"]) == ["target"]


def test_a_broken_weighting_is_a_failure(rsd: Rsd, models: list[str]) -> None:
    found = record(rsd, *models, "--weighting", "python:no_such_module:f", code=1)
    assert "no_such_module" in found["failures"][0]
    assert len(found["roles"]) == 3


def test_arithmetic_is_tried(rsd: Rsd, models: list[str]) -> None:
    found = record(rsd, *models, "--reward", "arithmetic", code=0)
    trial = found["roles"]["reward"]["trial"]
    assert trial == "reward 1.000 for a right step, 0.000 for a wrong one"


def test_a_wrong_configuration_is_an_error(rsd: Rsd) -> None:
    result = rsd("doctor", "--threshold", 7)
    assert result.code == 2
    assert result.err.startswith("error: --threshold 7.0")


def test_gguf_files_are_tried_on_llama_cpp(rsd: Rsd, tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    pytest.importorskip("xllamacpp")
    spec = f"gguf:{tiny_gguf.write(tmp_path / 'tiny.gguf')}"
    gate = ("--reward", "cascade:confidence:draft,likelihood:target", "--reward-bounds", "0.1,0.9")
    found = record(rsd, "--draft", spec, "--target", spec, *gate, "--max-tokens", 64, code=0)
    assert found["roles"]["reward"]["trial"].startswith("reward ")
    draft = found["roles"]["draft"]
    assert draft["model"].startswith("llama, ")
    assert draft["model"].endswith("on llama.cpp")
    assert draft["context"].endswith("slots")
    assert found["same_vocabulary"] is True
    assert "trial" in draft


def test_a_reward_model_on_llama_cpp_says_what_it_reads(
    rsd: Rsd, models: list[str], tmp_path: Path
) -> None:
    pytest.importorskip("gguf")
    pytest.importorskip("xllamacpp")
    folder, _ = checkpoints.qwen_prm(tmp_path / "prm")
    file = tiny_gguf_reward.write(folder, tmp_path / "prm.gguf")
    reward = ("--reward", f"gguf:{file}", "--reward-tokenizer", folder)
    result = rsd("doctor", "--json", *models, *reward)
    told = json.loads(result.out)["roles"]["reward"]  # random weights: perhaps upside down
    assert told["kind"] == "qwen-prm, its network on llama.cpp"
    assert told["network"] == str(file)
    assert told["head"] == str(folder / "head.safetensors")
    assert told["label of right steps"] == "LABEL_1 (id 1 of 2 labels)"
    assert told["step mark"].startswith("<extra_0> (id ")
    found = record(rsd, *models, *reward[:2], code=1)
    assert "--reward-tokenizer" in found["failures"][0]
