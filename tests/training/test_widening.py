from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoModel

from rsdecode.core.errors import ConfigError
from rsdecode.models.abacus import model_path
from rsdecode.training.widening import widen
from tests.backends.transformers.tiny import causal_model

IDS = torch.tensor([[5, 17, 80, 33, 17, 9, 64, 17], [64, 2, 17, 17, 80, 71, 5, 33]])
HIDDEN, HALF = 192, 32
TOKEN, EXPECTED = slice(HIDDEN, HIDDEN + HALF - 1), slice(HIDDEN + HALF, HIDDEN + 2 * HALF - 1)
ERROR, LOWEST = HIDDEN + HALF - 1, HIDDEN + 2 * HALF - 1


def target() -> Any:
    return AutoModel.from_pretrained(model_path("target")).float().eval()


@torch.inference_mode()
def states_before(network: Any, layer: Any) -> torch.Tensor:
    """What comes into a layer [B, T, H]."""
    seen: list[torch.Tensor] = []
    hook = layer.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    network(input_ids=IDS, use_cache=False)
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


@pytest.mark.parametrize("name", ["llama", "gemma3-mixed"])
def test_backbones_of_another_form_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"'{name}' is not of the form of Qwen 2"):
        widen(causal_model(name).model, 1, name)
