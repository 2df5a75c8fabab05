"""How the PRM grows: out of the draft first, then by a layer that looks for errors.

A fresh network of this size needs hours before it starts to find errors. It is faster to begin with
what is known: the draft already predicts the next token; an error is a token that differs from the
prediction one place back; a step is wrong if one of its tokens is. Each function puts one of these
facts into the starting weights, and training does the rest.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from recipes.abacus.network import RewardNetwork

#: attention score per unit of a token's value, and what the found value adds to the residual
POOL_SHARPNESS = 1.5
POOL_GAIN = 28.0


@torch.no_grad()
def grow(network: RewardNetwork, smaller: dict[str, Tensor]) -> int:
    """Copies a narrower and shallower network into this one; everything new adds nothing.

    Returns:
        How many layers the smaller network had.
    """
    for key, tensor in network.state_dict().items():
        if key.endswith(("o_proj.weight", "down_proj.weight")):
            tensor.zero_()
        if key in smaller:
            tensor[tuple(slice(size) for size in smaller[key].shape)] = smaller[key]
    return sum(key.endswith("o_proj.weight") for key in smaller)


@torch.no_grad()
def pool_errors(network: RewardNetwork) -> None:
    """Makes the last layer look for the token with the lowest value so far and pass it on.

    Keys carry the value that the head would give a token, on the slowest rotary pair, which hardly
    depends on the distance; the found value goes back along the head's own direction.
    """
    layer: Any = network.model.layers[-1]
    head = network.v_head.summary.weight[0]
    attention, norm = layer.self_attn, network.model.norm.weight
    layer.input_layernorm.weight.copy_(norm)
    attention.k_proj.weight.zero_()
    attention.k_proj.weight[31] = -head
    attention.q_proj.weight[:64].zero_()
    attention.q_proj.bias[31] = 8 * POOL_SHARPNESS
    attention.v_proj.weight.zero_()
    attention.v_proj.weight[0] = head
    direction = head * norm
    attention.o_proj.weight[:, 0] = POOL_GAIN * direction / direction.square().sum()
