from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModel, GPT2Config

from rsdecode.core.errors import ConfigError
from rsdecode.models.abacus import model_path
from rsdecode.training.growth import add_layers
from tests.backends.transformers.tiny import causal_model

IDS = torch.tensor([[5, 17, 80, 33, 120, 9, 64, 71]])


@torch.inference_mode()
def outputs(network: Any) -> torch.Tensor:
    return network(input_ids=IDS, use_cache=False).last_hidden_state


@pytest.mark.parametrize("name", ["qwen2", "llama", "mistral-sliding", "gemma3-mixed"])
def test_new_layers_change_nothing_at_first_and_can_learn(name: str) -> None:
    network = causal_model(name).model
    before, parameters = outputs(network), network.num_parameters()
    add_layers(network, 2, name)
    assert len(network.layers) == network.config.num_hidden_layers == 5
    assert torch.allclose(outputs(network), before, atol=1e-6)
    assert network.num_parameters() > parameters
    network(input_ids=IDS, use_cache=False).last_hidden_state.square().sum().backward()
    for layer in network.layers[3:]:
        assert layer.self_attn.o_proj.weight.grad.abs().max() > 0
        assert layer.mlp.down_proj.weight.grad.abs().max() > 0


def test_a_grown_checkpoint_loads_with_all_its_layers(tmp_path: Any) -> None:
    network = causal_model("gemma3-mixed").model
    add_layers(network, 1, "tiny")
    nn.init.normal_(network.layers[3].self_attn.o_proj.weight)
    network.save_pretrained(tmp_path)
    config = AutoConfig.from_pretrained(tmp_path)
    one, other = "sliding_attention", "full_attention"
    assert config.layer_types == [one, other, one, one]
    assert torch.equal(outputs(AutoModel.from_pretrained(tmp_path)), outputs(network))


def test_the_first_head_of_a_new_layer_looks_one_token_back() -> None:
    network: Any = AutoModel.from_pretrained(model_path("draft"), attn_implementation="eager")
    add_layers(network.float(), 1, "draft")
    with torch.inference_mode():
        attentions = network(input_ids=IDS, output_attentions=True).attentions
    first, second = attentions[-1][0]
    for place in range(1, IDS.shape[1]):
        assert first[place, place - 1] > 0.9
    assert second.diagonal(-1).min() < 0.9


def test_layers_of_another_form_are_refused() -> None:
    network = AutoModel.from_config(GPT2Config(n_layer=1, n_head=1, n_embd=8, vocab_size=128))
    with pytest.raises(ConfigError, match="'tiny' has no layers of the usual form"):
        add_layers(network, 1, "tiny")
