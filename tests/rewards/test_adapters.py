"""Folders with an adapter: drafts, targets and reward models, merged into their base."""

from __future__ import annotations

import builtins
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from rsdecode.backends.transformers.load import load_pretrained
from rsdecode.backends.transformers.model import load_model
from rsdecode.config.specs import parse_model_spec
from rsdecode.core.errors import ModelLoadError
from rsdecode.core.requests import Generate
from rsdecode.core.types import Context, Message, Role
from rsdecode.results.identity import model_digest
from rsdecode.rewards import load_reward_model
from rsdecode.rewards.settings import RewardSettings
from tests.rewards import tiny
from tests.rewards.tiny import OPTIONS, PROBLEMS, rewards

peft = pytest.importorskip("peft")
ASKED = Context((Message("user", "How many?"),))


def adapt(folder: Path, base: Path, auto_class: Any, **settings: Any) -> Any:
    """Save a random adapter; gives the model with it in place."""
    model = auto_class.from_pretrained(base)
    tuned = peft.get_peft_model(
        model, peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"], **settings)
    )
    torch.manual_seed(7)
    for name, weight in tuned.named_parameters():
        if "lora_" in name or "modules_to_save" in name:
            torch.nn.init.normal_(weight, std=0.5)
    tuned.save_pretrained(folder)
    return tuned.eval()


def causal(tmp_path: Path, **settings: Any) -> tuple[Path, Path, Any]:
    from transformers import AutoModelForCausalLM

    base, _ = tiny.save_causal(tmp_path / "base")
    given = {"task_type": "CAUSAL_LM", **settings}
    tuned = adapt(tmp_path / "adapter", base, AutoModelForCausalLM, **given)
    return tmp_path / "adapter", base, tuned


async def test_an_adapter_of_a_writer_gives_the_tokens_of_the_tuned_model(tmp_path):
    path, base, tuned = causal(tmp_path)
    texts: list[str] = []
    for place in (path, base):
        model = load_model(str(place), OPTIONS)
        request = Generate(Role.DRAFT, ASKED, max_tokens=12, session="s")
        [reply] = await model.generate([request])
        texts.append(reply.segment.text)
        model.close()
    words = tiny.tokenizer()
    ids = words.apply_chat_template(
        [{"role": "user", "content": "How many?"}], add_generation_prompt=True, return_tensors="pt"
    )["input_ids"]
    out = tuned.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False
    )
    assert texts[0] == words.decode(out[0, ids.shape[1] :], skip_special_tokens=True)
    assert texts[0] != texts[1]


@pytest.mark.parametrize(("task", "labels"), [("TOKEN_CLS", 2), ("SEQ_CLS", 1), ("SEQ_CLS", 2)])
async def test_an_adapter_of_a_classifier_brings_its_head(tmp_path, task, labels):
    from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification

    base, _ = tiny.save_causal(tmp_path / "base")
    token = task == "TOKEN_CLS"
    auto = AutoModelForTokenClassification if token else AutoModelForSequenceClassification

    class Labelled:
        @staticmethod
        def from_pretrained(place: Path) -> Any:
            return auto.from_pretrained(place, num_labels=labels)

    tuned = adapt(tmp_path / "prm", base, Labelled, task_type=task, modules_to_save=["score"])
    good = "LABEL_1" if labels == 2 else None
    settings = RewardSettings(separator="\n" if token else None, good=good)
    reward = load_reward_model(str(tmp_path / "prm"), OPTIONS, None, settings)
    [[value]] = rewards(await reward.score([PROBLEMS[2]]))
    form = reward.format
    reward.close()
    assert reward.describe()["kind"] == ("token-classifier" if token else "outcome")
    ids = form.prompt_ids(PROBLEMS[2].context.messages) + form.step_ids("One.\n\n", 0)
    with torch.no_grad():
        if token:
            logits = tuned(torch.tensor([ids])).logits[0, -1]
        else:
            logits = tuned(torch.tensor([[*ids, *form.closing_ids]])).logits[0]
    expected = logits.sigmoid()[0] if labels == 1 else logits.softmax(-1)[1]
    assert value == pytest.approx(expected.item(), abs=1e-4)


async def test_a_value_head_beside_an_adapter_is_read(tmp_path):
    """As TRL saved value heads of tuned models: the head alone in pytorch_model.bin."""
    path, _, tuned = causal(tmp_path)
    head = tiny.linear(64, 1, seed=5)
    state = {f"v_head.summary.{part}": value for part, value in head.state_dict().items()}
    torch.save(state, path / "pytorch_model.bin")
    reward = load_reward_model(str(path), OPTIONS, None, RewardSettings("\n"))
    [[value]] = rewards(await reward.score([PROBLEMS[2]]))
    form = reward.format
    reward.close()
    ids = form.prompt_ids(PROBLEMS[2].context.messages) + form.step_ids("One.\n\n", 0)
    with torch.no_grad():
        hidden = tuned(torch.tensor([ids]), output_hidden_states=True).hidden_states[-1][0, -1]
        assert value == pytest.approx(head(hidden).sigmoid().item(), abs=1e-4)


def test_the_tokenizer_is_the_bases_or_the_adapters_own(tmp_path):
    path, _, _ = causal(tmp_path)
    assert not (path / "tokenizer.json").exists()
    load_model(str(path), OPTIONS).close()
    words = tiny.tokenizer(chat=False)
    words.save_pretrained(path)
    model = load_model(str(path), OPTIONS)
    assert model.describe()["prompt"] == "plain prompt"
    model.close()


def test_without_peft_the_message_says_adapter_base_and_remedy(tmp_path, monkeypatch):
    path, _, _ = causal(tmp_path)
    real = builtins.__import__

    def absent(name: str, *rest: Any) -> Any:
        if name == "peft":
            raise ImportError("No module named 'peft'")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(ModelLoadError, match=r"adapter of the base model.*base.*rsdecode\[peft\]"):
        load_model(str(path), OPTIONS)


def test_a_base_that_is_not_here_is_named_with_the_remedy(tmp_path):
    path, base, _ = causal(tmp_path)
    shutil.rmtree(base)
    with pytest.raises(ModelLoadError, match=r"adapter of the base model .*base', which is not he"):
        load_model(str(path), OPTIONS)


def edited(path: Path, **changes: Any) -> None:
    settings = json.loads((path / "adapter_config.json").read_text())
    (path / "adapter_config.json").write_text(json.dumps(settings | changes))


def test_a_base_may_be_named_relative_to_the_adapter(tmp_path):
    path, _, _ = causal(tmp_path)
    model = load_model(str(path), OPTIONS)
    edited(path, base_model_name_or_path="../base")
    relative = load_model(str(path), OPTIONS)
    assert relative.describe() == model.describe()
    for loaded_model in (model, relative):
        loaded_model.close()


@pytest.mark.parametrize("name", [None, "", 3])
def test_an_adapter_that_names_no_base_is_an_error(tmp_path, name):
    path, _, _ = causal(tmp_path)
    edited(path, base_model_name_or_path=name)
    with pytest.raises(ModelLoadError, match="does not name its base model"):
        load_model(str(path), OPTIONS)


def test_an_adapter_of_other_layers_is_an_error_and_never_the_base_alone(tmp_path):
    path, _, _ = causal(tmp_path)
    from safetensors.torch import load_file, save_file

    tensors = load_file(path / "adapter_model.safetensors")
    renamed = {n.replace("model.layers", "language_model.layers"): t for n, t in tensors.items()}
    save_file(renamed, path / "adapter_model.safetensors")
    with pytest.raises(ModelLoadError, match="does not fit its base model"):
        load_model(str(path), OPTIONS)


def test_a_folder_with_a_whole_model_and_an_adapter_is_refused(tmp_path):
    path, base, _ = causal(tmp_path)
    for name in ("model.safetensors", "config.json"):
        shutil.copy(base / name, path / name)
    with pytest.raises(ModelLoadError, match="both a whole model and an adapter"):
        load_model(str(path), OPTIONS)


def test_an_adapter_without_its_weights_is_an_error(tmp_path):
    path, _, _ = causal(tmp_path)
    (path / "adapter_model.safetensors").unlink()
    with pytest.raises(ModelLoadError, match="not its weights"):
        load_model(str(path), OPTIONS)


def test_an_adapter_that_cannot_be_merged_is_refused(tmp_path):
    from transformers import AutoModelForCausalLM

    base, _ = tiny.save_causal(tmp_path / "base")
    settings = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)
    tuned = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(base), settings)
    tuned.save_pretrained(tmp_path / "prompt")
    with pytest.raises(ModelLoadError, match="PROMPT_TUNING adapter, which cannot be merged"):
        load_model(str(tmp_path / "prompt"), OPTIONS)


def test_rows_of_added_tokens_come_with_the_adapter(tmp_path):
    from transformers import AutoModelForCausalLM

    base, _ = tiny.save_causal(tmp_path / "base")
    model = AutoModelForCausalLM.from_pretrained(base)
    model.resize_token_embeddings(model.config.vocab_size + 8)
    settings = peft.LoraConfig(
        r=4, target_modules=["q_proj"], modules_to_save=["embed_tokens", "lm_head"],
        task_type="CAUSAL_LM",
    )  # fmt: skip
    tuned = peft.get_peft_model(model, settings)
    tuned.save_pretrained(tmp_path / "adapter")
    loaded = load_pretrained(AutoModelForCausalLM, str(tmp_path / "adapter"), OPTIONS)
    rows = loaded.get_input_embeddings().weight
    assert rows.shape[0] == tiny.config().vocab_size + 8


def test_results_depend_on_the_base_too(tmp_path):
    path, base, _ = causal(tmp_path)
    spec = parse_model_spec(f"hf:{path}")
    first = model_digest(spec)
    assert first != model_digest(parse_model_spec(f"hf:{base}"))
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 1e-5}))
    assert model_digest(spec) != first
