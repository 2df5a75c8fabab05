"""Which kind a checkpoint is, and what is said when it cannot be told."""

from __future__ import annotations

import json

import pytest

from rsdecode.config.specs import parse_reward_spec
from rsdecode.core.errors import ConfigError, ModelLoadError
from rsdecode.rewards import RewardKind, load_reward_model
from rsdecode.rewards.detect import SUPPORTED, detect_kind, parse_kind
from rsdecode.rewards.settings import SECTION, RewardSettings
from tests.rewards import tiny


@pytest.mark.parametrize(
    ("architecture", "kind"),
    [
        ("Qwen2ForPrmModel", RewardKind.VALUE_HEAD),
        ("LlamaForPrmModel", RewardKind.VALUE_HEAD),
        ("Qwen2ForProcessRewardModel", RewardKind.QWEN_PRM),
        ("Qwen2ForTokenClassification", RewardKind.TOKEN_CLASSIFIER),
        ("LlamaForSequenceClassification", RewardKind.OUTCOME),
    ],
)
def test_the_architecture_gives_the_kind_away(architecture, kind):
    def never() -> bool:
        raise AssertionError("weights need not be looked at")

    assert detect_kind("m", ["Other", architecture], never) is kind


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("peiyi9979/math-shepherd-mistral-7b-prm", RewardKind.PLUS_MINUS),
        ("RLHFlow/Llama3.1-8B-PRM-Deepseek-Data", RewardKind.PLUS_MINUS_CHAT),
        ("UW-Madison-Lee-Lab/VersaPRM", RewardKind.PLUS_MINUS_RAW),
        ("/models/VersaPRM-Base-8B/", RewardKind.PLUS_MINUS_RAW),
        ("openreasoner/Math-psa", RewardKind.PLUS_MINUS_RAW),
        ("jinachris/PURE-PRM-7B", RewardKind.PURE),
        ("Gen-Verse/ReasonFlux-PRM-7B", RewardKind.QWEN_PRM),
        ("Gen-Verse/ReasonFlux-PRM-1.5B", RewardKind.REWARD_HEAD),
    ],
)
def test_published_models_are_known_by_name(name, kind):
    architectures = ["LlamaForCausalLM", "Qwen2ForTokenClassification"]
    assert detect_kind(name, architectures, lambda: False) is kind
    assert detect_kind(f"{name.rstrip('/')}-mine", architectures, lambda: False) is not kind


def test_an_implicit_reward_is_told_its_reference():
    with pytest.raises(ModelLoadError) as caught:
        detect_kind("PRIME-RL/EurusPRM-Stage2", ["Qwen2ForCausalLM"], lambda: False)
    told = str(caught.value)
    spec = parse_reward_spec(told[told.index("implicit:") :])
    assert spec.implicit.beta == 0.001
    assert str(spec.implicit.model) == "hf:PRIME-RL/EurusPRM-Stage2"
    assert str(spec.implicit.reference) == "hf:Qwen/Qwen2.5-Math-7B-Instruct"


def test_a_verifier_is_told_how_it_is_asked():
    with pytest.raises(ModelLoadError, match=r"--reward verifier:hf:GenPRM/GenPRM-7B"):
        detect_kind("GenPRM/GenPRM-7B", ["Qwen2ForCausalLM"], lambda: False)


def test_a_language_model_with_a_value_head_is_one():
    assert detect_kind("m", ["LlamaForCausalLM"], lambda: True) is RewardKind.VALUE_HEAD
    assert detect_kind("m", ["GPT2LMHeadModel"], lambda: True) is RewardKind.VALUE_HEAD


@pytest.mark.parametrize("architectures", [["LlamaForCausalLM"], ["BertForMaskedLM"], []])
def test_an_unknown_head_lists_what_is_supported(architectures):
    with pytest.raises(ModelLoadError) as caught:
        detect_kind("some/model", architectures, lambda: False)
    message = str(caught.value)
    assert "some/model" in message
    assert all(name in message for name in architectures)
    assert all(kind.value in message for kind in RewardKind)
    assert all(kind.value in SUPPORTED for kind in RewardKind)


def test_kinds_are_named_when_one_is_unknown():
    assert parse_kind("plus-minus") is RewardKind.PLUS_MINUS
    with pytest.raises(ConfigError, match=r"'prm'.*value-head, qwen-prm"):
        parse_kind("prm")


def token(text: str) -> int:
    [token] = tiny.tokenizer().encode(text)
    return token


def detected(path) -> str:
    reward = load_reward_model(str(path), tiny.OPTIONS)
    reward.close()
    return reward.describe()["kind"]


def test_folders_are_detected(tmp_path):
    assert detected(tiny.save_value_head(tmp_path / "a")[0]) == "value-head"
    assert detected(tiny.save_qwen_prm(tmp_path / "b")[0]) == "qwen-prm"
    assert detected(tiny.save_classifier(tmp_path / "c", "token")[0]) == "token-classifier"
    assert detected(tiny.save_classifier(tmp_path / "d", "sequence")[0]) == "outcome"
    assert detected(tiny.save_reward_head(tmp_path / "e")[0]) == "reward-head"


def test_a_trl_value_head_under_a_language_model_is_detected(tmp_path):
    path, _, _ = tiny.save_value_head(tmp_path)
    settings = json.loads((path / "config.json").read_text())
    settings |= {"architectures": ["Qwen2ForCausalLM"], SECTION: {"mark": "\n"}}
    (path / "config.json").write_text(json.dumps(settings))
    assert detected(path) == "value-head"


def test_an_explicit_kind_wins(tmp_path):
    path, _ = tiny.save_causal(tmp_path)
    with pytest.raises(ModelLoadError, match="plus-minus"):
        load_reward_model(str(path), tiny.OPTIONS)
    reward = load_reward_model(str(path), tiny.OPTIONS, "plus-minus")
    reward.close()
    told = reward.describe()
    assert told.pop("cache").endswith("MiB for 4 slots of 1024 tokens")
    assert told == {
        "kind": "plus-minus",
        "step mark": f"ки (id {token('ки')})",
        "good sign": f"'+' (id {token('+')})",
        "bad sign": f"'-' (id {token('-')})",
        "context": "1024 tokens",
    }
    with pytest.raises(ModelLoadError, match=r"has no weights 'v_head.summary.weight'"):
        load_reward_model(str(path), tiny.OPTIONS, "value-head")


def test_missing_weights_are_named(tmp_path):
    path, _, _ = tiny.save_value_head(tmp_path / "prm")
    (path / "model.safetensors").unlink()
    with pytest.raises(ModelLoadError, match=r"has no weights \(model.safetensors"):
        load_reward_model(str(path), tiny.OPTIONS)


def test_a_reward_head_takes_no_settings_and_needs_its_file(tmp_path):
    path, _, _ = tiny.save_reward_head(tmp_path)
    with pytest.raises(ConfigError, match=r"reward.mark .* which reads no setting"):
        load_reward_model(str(path), tiny.OPTIONS, settings=RewardSettings(mark="x"))
    (path / "reward_head.pt").unlink()
    with pytest.raises(ModelLoadError, match=r"has no weights \(reward_head.pt"):
        load_reward_model(str(path), tiny.OPTIONS, "reward-head")


def test_a_damaged_weights_file_is_named(tmp_path):
    path, _, _ = tiny.save_value_head(tmp_path / "prm")
    (path / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(ModelLoadError, match=r"model.safetensors' is not a readable weights file"):
        load_reward_model(str(path), tiny.OPTIONS)


def test_a_missing_shard_is_named(tmp_path):
    path, _, _ = tiny.save_value_head(tmp_path / "prm")
    (path / "model.safetensors").unlink()
    index = {"weight_map": {"v_head.summary.weight": "model-2.safetensors"}}
    (path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelLoadError, match=r"lacks 'model-2.safetensors'"):
        load_reward_model(str(path), tiny.OPTIONS)


def test_a_folder_that_does_not_exist_is_an_error(tmp_path):
    with pytest.raises(ModelLoadError, match="nowhere"):
        load_reward_model(str(tmp_path / "nowhere"), tiny.OPTIONS)


def test_a_mark_outside_the_vocabulary_is_an_error(tmp_path):
    words = tiny.tokenizer(extra=False)
    path, _, _ = tiny.save_qwen_prm(tmp_path / "prm", words=words)
    with pytest.raises(ModelLoadError, match=r"'<extra_0>' is not in the vocabulary.*prm"):
        load_reward_model(str(path), tiny.OPTIONS)


def test_encoders_are_refused(tmp_path):
    from transformers import BertConfig, BertForSequenceClassification

    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 1}
    model = BertForSequenceClassification(BertConfig(vocab_size=300, **sizes))
    model.save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    with pytest.raises(ModelLoadError, match="'bert' model, not a decoder"):
        load_reward_model(str(tmp_path), tiny.OPTIONS)


def test_labels_that_cannot_be_told_are_errors(tmp_path):
    path, _ = tiny.save_classifier(tmp_path / "outcome", "sequence", num_labels=3)
    with pytest.raises(ModelLoadError, match="3 labels"):
        load_reward_model(str(path), tiny.OPTIONS)
