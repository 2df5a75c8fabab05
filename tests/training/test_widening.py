from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoModel, LlamaConfig, LlamaModel, Qwen2Config, Qwen2Model

from rsdecode.core.errors import ConfigError
from rsdecode.models.abacus import model_path
from rsdecode.training.widening import widen
from tests.backends.transformers.tiny import causal_model

IDS = torch.tensor([[5, 17, 80, 33, 17, 9, 64, 17], [64, 2, 17, 17, 80, 71, 5, 33]])
HIDDEN, HALF = 192, 32
LLAMA = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1, "vocab_size": 128,
         "num_attention_heads": 2}  # fmt: skip
LINEAR = {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}
TOKEN, EXPECTED = slice(HIDDEN, HIDDEN + HALF - 1), slice(HIDDEN + HALF, HIDDEN + 2 * HALF - 1)
ERROR, LOWEST = HIDDEN + HALF - 1, HIDDEN + 2 * HALF - 1


def target(dtype: torch.dtype = torch.float32) -> Any:
    return AutoModel.from_pretrained(model_path("target"), dtype=dtype).eval()


@torch.inference_mode()
def states_before(network: Any, layer: Any, ids: torch.Tensor = IDS) -> torch.Tensor:
    """What comes into a layer [B, T, H]."""
    seen: list[torch.Tensor] = []
    hook = layer.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    network(input_ids=ids, use_cache=False)
    hook.remove()
    return seen[0]


def test_the_backbone_computes_what_it_did_in_a_stream_of_entries_about_one() -> None:
    network = target()
    before = states_before(network, network.norm)
    wide, _ = widen(network, 2, "target")
    after = states_before(wide, wide.layers[6])
    assert after.shape == (2, 8, HIDDEN + 2 * HALF)
    assert 0.3 < after[..., :HIDDEN].square().mean().sqrt() < 3
    scale = before.norm() / after.norm()
    assert scale > 100
    assert torch.allclose(after[..., :HIDDEN] * scale, before, atol=1e-2 * before.abs().max())


def test_the_first_new_layer_brings_together_the_token_and_what_was_expected() -> None:
    network, [first, second] = target(), torch.tensor([[0, 1], [0, 4]])  # token 17
    wide, _ = widen(network, 2, "target")
    state = states_before(wide, wide.layers[7])
    token = torch.nn.functional.normalize(state[..., TOKEN], dim=-1)
    assert token[tuple(first)] @ token[tuple(second)] > 0.95  # wherever it stands
    assert (token[0, 1] @ token[0, 2]).abs() < 0.7
    expected = states_before(wide, wide.layers[6])[:, :-1, :HIDDEN]
    expected = expected / expected.square().mean(-1, keepdim=True).sqrt()
    values = wide.layers[6].self_attn.v_proj.weight[HALF : 2 * HALF - 1, :HIDDEN]
    told = state[:, 1:, EXPECTED]
    alike = torch.cosine_similarity(expected @ values.T, told, dim=-1)
    assert alike.min() > 0.95


def test_the_last_layer_passes_on_the_lowest_value_so_far() -> None:
    wide, reads = widen(target(), 2, "target")
    assert reads.nonzero().flatten().tolist() == [ERROR, LOWEST]

    def spoil(_: Any, given: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        state = given[0].clone()
        state[..., ERROR] = 3.0
        state[0, 3, ERROR] = -6.0
        return (state, *given[1:])

    hook = wide.layers[7].register_forward_pre_hook(spoil)
    lowest = states_before(wide, wide.norm)[..., LOWEST]
    hook.remove()
    assert lowest[1].min() > 0
    assert lowest[0, :3].min() > 0
    assert lowest[0, 3:].max() < 0


def qwen(**changes: Any) -> Any:
    torch.manual_seed(0)
    sizes = {"vocab_size": 128, "hidden_size": 256, "intermediate_size": 64, "head_dim": 32}
    layers = {"num_hidden_layers": 2, "num_attention_heads": 8, "num_key_value_heads": 2}
    return Qwen2Model(Qwen2Config(**(sizes | layers | changes))).eval()


@torch.inference_mode()
def test_groups_of_heads_keep_their_keys_and_the_comparison_stays_clear() -> None:
    network = qwen()
    before = states_before(network, network.norm)
    wide, _ = widen(network, 2, "tiny")
    assert wide.config.num_attention_heads == 10
    after = states_before(wide, wide.layers[2])
    scale = before.norm() / after[..., :256].norm()
    assert torch.allclose(after[..., :256] * scale, before, atol=1e-2 * before.abs().max())
    ids = torch.randint(0, 128, (1, 300))
    token = torch.nn.functional.normalize(states_before(wide, wide.layers[3], ids)[0, :, 256:271])
    first: dict[int, int] = {}
    for place, word in enumerate(ids[0].tolist()):
        assert token[place] @ token[first.setdefault(word, place)] > 0.99  # wherever it stands
    assert len(first) < 200


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_other_types_of_weights_are_widened_too(dtype: torch.dtype) -> None:
    exact, _ = widen(target(), 2, "target")
    wide, _ = widen(target(dtype), 2, "target")
    assert {weights.dtype for weights in wide.parameters()} == {dtype}
    assert wide.rotary_emb.inv_freq.dtype is torch.float32
    one, other = (states_before(network, network.layers[7]).float() for network in (exact, wide))
    assert torch.cosine_similarity(one[..., TOKEN], other[..., TOKEN], dim=-1).min() > 0.99


@pytest.mark.parametrize(
    ("network", "why"),
    [
        (lambda: causal_model("llama").model, "attention has no biases where Qwen 2 has them"),
        (lambda: causal_model("gemma3-mixed").model, "attention has no biases"),
        (lambda: LlamaModel(LlamaConfig(**LLAMA, attention_bias=True)), "attention has no biases"),
        (lambda: qwen(hidden_size=128, head_dim=16), "heads of 16 are smaller than 32"),
        (lambda: qwen(head_dim=64), "8 heads of 64 are not its hidden size"),
        (lambda: qwen(rope_parameters=LINEAR), "rotary positions are of the type 'linear'"),
        (lambda: qwen(layer_types=["full_attention", "sliding_attention"], use_sliding_window=True),
         "its last layer looks back over a window alone"),
    ],
)  # fmt: skip
def test_backbones_of_another_form_are_refused(network: Any, why: str) -> None:
    with pytest.raises(ConfigError, match=f"'tiny' is not of the form of Qwen 2: .*{why}"):
        widen(network(), 1, "tiny")
