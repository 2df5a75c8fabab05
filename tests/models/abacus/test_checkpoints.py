"""The shipped checkpoints: formats, sizes, and a tokenizer that loses nothing."""

from __future__ import annotations

import json
from functools import cache
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsdecode.models.abacus import ModelName, is_solved, model_path, problems

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
safetensors_torch = pytest.importorskip("safetensors.torch")

NAMES: tuple[ModelName, ...] = get_args(ModelName)


@cache
def tokenizer(name: ModelName = "draft"):
    return transformers.AutoTokenizer.from_pretrained(model_path(name))


def parameters(name: ModelName) -> int:
    tensors = safetensors_torch.load_file(model_path(name) / "model.safetensors")
    return sum(tensor.numel() for tensor in tensors.values())


def encode(text: str) -> list[int]:
    return tokenizer().encode(text, add_special_tokens=False)


def test_an_unknown_model_is_named() -> None:
    with pytest.raises(ValueError, match="unknown model 'judge'"):
        model_path("judge")  # type: ignore[arg-type]


def test_everything_together_fits_in_twenty_megabytes() -> None:
    files = [file for name in NAMES for file in model_path(name).iterdir()]
    assert sum(file.stat().st_size for file in files) < 20e6


def test_sizes_make_rsd_pay() -> None:
    assert parameters("target") >= 20 * parameters("draft")
    assert parameters("target") >= 8 * parameters("prm")


@pytest.mark.parametrize("name", NAMES)
def test_weights_are_bf16_and_heads_are_64_wide(name: ModelName) -> None:
    tensors = safetensors_torch.load_file(model_path(name) / "model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.bfloat16}
    config = json.loads((model_path(name) / "config.json").read_text())
    assert config["head_dim"] == 64
    assert config["vocab_size"] == len(tokenizer(name))


def test_the_prm_has_the_layout_of_skyworks() -> None:
    config = json.loads((model_path("prm") / "config.json").read_text())
    assert config["architectures"] == ["Qwen2ForPrmModel"]
    tensors = safetensors_torch.load_file(model_path("prm") / "model.safetensors")
    assert tensors["v_head.summary.weight"].shape == (1, config["hidden_size"])
    assert tensors["v_head.summary.bias"].shape == (1,)
    assert {key.split(".")[0] for key in tensors} == {"model", "v_head"}
    assert "model.embed_tokens.weight" in tensors


def test_all_three_share_one_tokenizer() -> None:
    texts = {(model_path(name) / "tokenizer.json").read_text() for name in NAMES}
    assert len(texts) == 1


@given(st.text())
@settings(max_examples=300, deadline=None)
def test_any_text_survives_the_tokenizer(text: str) -> None:
    assert tokenizer().decode(encode(text)) == text


@given(st.lists(st.sampled_from(problems("test", limit=20)), min_size=1, max_size=3))
@settings(max_examples=30, deadline=None)
def test_text_of_the_task_never_falls_back_to_bytes(chosen) -> None:
    for problem in chosen:
        text = problem.question + "\n" + "\n\n".join(problem.steps)
        words = tokenizer().convert_ids_to_tokens(encode(text))
        letters = sum(len(word) == 1 and word.isalpha() and word.islower() for word in words)
        assert letters == 0


@given(st.text(alphabet="ab 1+.\\\n", max_size=30), st.text(alphabet="ab 1+.\\", max_size=30))
@settings(max_examples=300, deadline=None)
def test_pieces_cut_after_a_blank_line_tokenise_like_the_whole(left: str, right: str) -> None:
    head = left.rstrip("\n") + "\n\n"
    assert encode(head) + encode(right) == encode(head + right)


def test_digits_stand_alone_and_the_separator_is_one_token() -> None:
    assert len(encode("4071")) == 4
    assert len(encode(" 4071")) == 4
    assert len(encode("\n\n")) == len(encode("\n")) == 1
    assert tokenizer().eos_token == "<|eos|>"


def test_the_chat_template_is_the_prompt_of_the_family() -> None:
    text = tokenizer().apply_chat_template(
        [{"role": "user", "content": "How many?"}], tokenize=False, add_generation_prompt=True
    )
    assert text == "<|bos|>How many?\n"


@pytest.mark.parametrize(("name", "least"), [("target", 0.7), ("draft", 0.2)])
def test_plain_transformers_solves_problems(name: ModelName, least: float) -> None:
    torch.set_num_threads(1)
    model = transformers.AutoModelForCausalLM.from_pretrained(model_path(name)).float()
    chosen = problems("test", levels=[1, 2, 3], limit=24)
    prompts = [f"<|bos|>{problem.question}\n" for problem in chosen]
    batch = tokenizer()(prompts, return_tensors="pt", padding=True, add_special_tokens=False)
    batch.pop("token_type_ids", None)
    written = model.generate(**batch, max_new_tokens=300, do_sample=False)
    texts = tokenizer().batch_decode(written[:, batch["input_ids"].shape[1] :])
    assert sum(map(is_solved, chosen, texts)) >= least * len(chosen)
