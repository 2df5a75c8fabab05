from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rsdecode.backends.transformers.int8 import (
    FEW,
    Int8Embedding,
    Int8Linear,
    Int8Weight,
    described_dtype,
    to_int8,
)
from rsdecode.backends.transformers.load import LoadOptions, load_pretrained, model_shape
from rsdecode.backends.transformers.model import load_model
from rsdecode.core.errors import ConfigError, ModelLoadError
from rsdecode.core.requests import Generate, Generated
from rsdecode.core.types import Context, Message, Role
from rsdecode.training.train_settings import TrainSettings
from tests.backends.transformers.tiny import CONFIGS, causal_model, tokenizer

RELATIVE = 0.03
"""Rounding to 8 bits, and of inputs and outputs to bfloat16."""


def weight(rows: int = 48, columns: int = 64) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(rows))


def distance(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a.detach().float() - b.detach().float()).norm() / b.detach().float().norm())


@given(rows=st.integers(1, 3 * FEW), outputs=st.integers(32, 70), blocks=st.integers(1, 4))
def test_products_are_those_of_the_floats_for_few_rows_and_for_many(
    rows: int, outputs: int, blocks: int
) -> None:
    floats = weight(outputs, 32 * blocks)
    inputs = torch.randn(rows, 32 * blocks).bfloat16()
    assert distance(Int8Weight(floats).times(inputs), inputs.float() @ floats.T) < RELATIVE


def test_many_outputs_are_computed_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs, floats = torch.randn(FEW + 1, 64).bfloat16(), weight(100)
    whole = Int8Weight(floats).times(inputs)
    monkeypatch.setattr("rsdecode.backends.transformers.int8.BLOCK", 64 * 7)
    assert torch.equal(Int8Weight(floats).times(inputs), whole)


@given(exponent=st.integers(-30, 30))
def test_each_row_has_its_own_scale(exponent: int) -> None:
    floats = weight() * torch.tensor([2.0**exponent, 1.0]).repeat(24)[:, None]
    rounded = Int8Weight(floats).rows(torch.arange(48))
    for row, expected in zip(rounded, floats, strict=True):
        assert distance(row, expected) < RELATIVE


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_each_weight_is_rounded_to_the_nearest(kind: torch.dtype) -> None:
    floats = weight(64, 640).to(kind)
    matrix = Int8Weight(floats)
    steps = floats.float() / matrix.scale.float()[:, None]
    assert (matrix.weight.float() - steps).abs().max() <= 0.5


def test_a_row_of_zeros_stays_one() -> None:
    matrix = Int8Weight(torch.zeros(32, 64))
    assert not matrix.times(torch.ones(1, 64).bfloat16()).any()


def test_layers_keep_bias_and_shapes() -> None:
    layer = torch.nn.Linear(64, 48).bfloat16()
    int8 = Int8Linear(Int8Weight(layer.weight), layer.bias)
    inputs = torch.randn(2, 3, 64).bfloat16()
    assert int8(inputs).shape == (2, 3, 48)
    assert distance(int8(inputs), layer(inputs)) < RELATIVE
    embedding = Int8Embedding(Int8Weight(weight()))
    assert embedding(torch.tensor([[1, 2, 3]])).shape == (1, 3, 64)


@pytest.mark.parametrize("family", CONFIGS)
def test_a_model_takes_half_the_memory_and_keeps_its_sizes(family: str) -> None:
    model = causal_model(family).bfloat16()
    shape, size = model_shape(model), bytes_of(model)
    assert described_dtype(model) == "bfloat16"
    to_int8(model, family)
    new = model_shape(model)
    assert described_dtype(model) == "bfloat16, weights int8"
    assert model.dtype == torch.bfloat16
    if family == "gemma3-mixed":  # its embedding scales what it gives, and stays as it is
        assert bytes_of(model) < 0.9 * size
    else:
        assert bytes_of(model) < 0.52 * size
        assert new == shape


def bytes_of(model: Any) -> int:
    return sum(p.numel() * p.element_size() for p in model.parameters())


def test_weights_that_are_shared_stay_shared() -> None:
    model = causal_model("qwen2").bfloat16()
    to_int8(model, "tiny")
    assert model.lm_head.weight is model.get_input_embeddings().weight
    assert model_shape(model).tied


def test_layers_that_choose_experts_and_small_ones_keep_their_floats() -> None:
    model = causal_model("llama").bfloat16()
    model.model.layers[0].gate = torch.nn.Linear(64, 64)
    model.score = torch.nn.Linear(64, 2)
    model.odd = torch.nn.Linear(48, 64)
    to_int8(model, "tiny")
    assert type(model.model.layers[0].gate) is type(model.score) is type(model.odd)
    assert type(model.model.layers[0].gate) is torch.nn.Linear


def test_a_model_without_such_layers_is_refused() -> None:
    model = causal_model("llama").bfloat16()
    for path, module in list(model.named_modules()):
        if isinstance(module, torch.nn.Linear | torch.nn.Embedding):
            parent, _, name = path.rpartition(".")
            other = type("Other", (type(module),), {})
            module.__class__ = other
            setattr(model.get_submodule(parent), name, module)
    with pytest.raises(ModelLoadError, match=r"no linear layer .* use --dtype bfloat16"):
        to_int8(model, "tiny")


@pytest.mark.parametrize("wrong", [0.5, float("nan")])
def test_outputs_that_become_others_are_refused(
    wrong: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = Int8Weight.times
    monkeypatch.setattr(Int8Weight, "times", lambda self, inputs: wrong * right(self, inputs))
    with pytest.raises(ModelLoadError, match=r"'tiny' gives other outputs .* use --dtype bfloat16"):
        to_int8(causal_model().bfloat16(), "tiny")


def test_weights_that_are_damaged_are_left_to_the_requests_to_tell() -> None:
    model = causal_model().bfloat16()
    model.model.layers[0].input_layernorm.weight.data.fill_(float("nan"))
    to_int8(model, "tiny")
    assert described_dtype(model) == "bfloat16, weights int8"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("int8")
    causal_model("qwen2").save_pretrained(place)
    tokenizer(chat=True).save_pretrained(place)
    return place


async def test_the_engine_writes_what_the_rounded_model_generates(folder: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = load_pretrained(AutoModelForCausalLM, str(folder), LoadOptions("cpu", "int8"))
    served = load_model(str(folder), LoadOptions("cpu", "int8"))
    assert "weights int8" in served.describe()["device"]
    context = Context((Message("user", "the the."),))
    [reply] = await served.generate([Generate(Role.DRAFT, context, 12)])
    served.close()
    assert isinstance(reply, Generated)
    assert reply.segment.tokens is not None
    prompt = served.codec.chat_ids(context.messages)
    written = cast(Any, model).generate(torch.tensor([prompt]), max_new_tokens=12, do_sample=False)
    assert reply.segment.tokens.ids == tuple(written[0, len(prompt) :].tolist())


def test_it_is_not_for_training() -> None:
    with pytest.raises(ConfigError, match="--dtype int8 cannot be trained: use float32"):
        TrainSettings(dtype="int8")
