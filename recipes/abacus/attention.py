"""Causal attention for short right-padded rows, about twice as fast as the fused CPU kernels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel

NAME = "abacus_causal"


def causal_attention(  # noqa: PLR0917 - the order is the one that transformers calls it with
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float = 0.125,
    **_: Any,
) -> tuple[Tensor, None]:
    """Plain attention in the type of its inputs: [batch, head, token, 64] to [batch, token, ...].

    Rows are padded on the right only, so the causal mask is all the masking there is.
    """
    batch, heads, length, size = query.shape
    shared = heads // key.shape[1]
    key = key.repeat_interleave(shared, 1).reshape(-1, length, size)
    value = value.repeat_interleave(shared, 1).reshape(-1, length, size)
    future = query.new_full((length, length), float("-inf")).triu(1)
    scores = torch.baddbmm(future, query.reshape(-1, length, size) * scaling, key.transpose(1, 2))
    mixed = torch.bmm(torch.softmax(scores, -1), value.to(scores.dtype))
    return mixed.view(batch, heads, length, size).transpose(1, 2), None


def use_fast_attention(network: nn.Module) -> None:
    """Switches every transformers model inside ``network`` to this attention."""
    AttentionInterface.register(NAME, causal_attention)
    AttentionMaskInterface.register(NAME, _no_mask)
    for module in network.modules():
        if isinstance(module, PreTrainedModel):
            module.set_attn_implementation(NAME)


def use_standard_attention(network: nn.Module) -> None:
    """Back to the implementation that also handles a cache and left padding."""
    for module in network.modules():
        if isinstance(module, PreTrainedModel):
            module.set_attn_implementation("sdpa")


def _no_mask(*_: Any, **__: Any) -> None:
    """The attention here is causal by itself."""
