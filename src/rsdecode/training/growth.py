"""New layers behind those of a backbone: at first they change nothing (LLaMA Pro, Wu et al. 2024).

What a language model expects in the place of a token stands in its last hidden state one place
back. A head on that state cannot compare it with the token that was written; layers behind it can.
"""

from __future__ import annotations

import copy
from typing import Any

import torch

from rsdecode.core.errors import ConfigError

_ENDS = ("self_attn.o_proj", "mlp.down_proj")
"""The linear layers by which a decoder layer adds to the residual stream."""
PAIRS, STRENGTH = 8, 7.0
"""Rotary pairs that look back, and how large their constants are."""


@torch.no_grad()
def add_layers(network: Any, count: int, name: str) -> None:
    """Put new layers behind the last one, in place; the outputs stay what they are.

    The first head of each looks one token back, where attention has the biases for it.

    Args:
        network: a decoder of transformers.
        count: of layers.
        name: of the backbone, for messages.

    Raises:
        ConfigError: its layers are not of the usual form.
    """
    layers: Any = getattr(network, "layers", None)
    first = len(layers) if isinstance(layers, torch.nn.ModuleList) else 0
    attention = getattr(layers[-1], "self_attn", None) if first else None
    ends = _ends(layers[-1]) if first else []
    if attention is None or len(ends) != len(_ENDS):
        raise ConfigError(
            f"--new-layers: {name!r} has no layers of the usual form (self_attn.o_proj "
            "and mlp.down_proj): leave it out"
        )
    config = network.config.get_text_config()
    for place in range(first, first + count):
        layer: Any = copy.deepcopy(layers[-1])
        layer.apply(network._init_weights)
        for end in _ends(layer):
            end.weight.zero_()
        layer.self_attn.layer_idx = place
        look_back(layer.self_attn, config)
        layers.append(layer)
    config.num_hidden_layers = first + count
    if kinds := getattr(config, "layer_types", None):
        config.layer_types = [*kinds, *[kinds[-1]] * count]


def train_only_new(network: Any, count: int) -> None:
    """Keep all weights of a backbone as they are but those of its last `count` layers."""
    network.requires_grad_(False)
    for layer in network.layers[-count:]:
        layer.requires_grad_(True)


def _ends(layer: Any) -> list[Any]:
    modules = dict(layer.named_modules())
    found = map(modules.get, _ENDS)
    return [module for module in found if isinstance(module, torch.nn.Linear)]


@torch.no_grad()
def look_back(attention: Any, config: Any, head: int = 0, distance: int = 1) -> None:
    """Make a head look some tokens back, in place; attention without biases stays as it is.

    Two constant vectors do it, whose product under rotary positions is largest at that distance.
    """
    query: Any = getattr(attention, "q_proj", None)
    key: Any = getattr(attention, "k_proj", None)
    rope: Any = getattr(config, "rope_parameters", None) or {}
    base = rope.get("rope_theta")
    size: int = attention.head_dim
    if query is None or key is None or query.bias is None or key.bias is None:
        return
    if not base or size < 4 * PAIRS:
        return
    angles = (float(base) ** (-2.0 * torch.arange(PAIRS) / size)).to(query.bias)
    key.bias[:PAIRS] = STRENGTH
    turned, first = angles * distance, head * size
    query.bias[first : first + PAIRS] = STRENGTH * turned.cos()
    query.bias[first + size // 2 : first + size // 2 + PAIRS] = -STRENGTH * turned.sin()
