"""A bare Qwen2 forward pass over one preallocated cache, several times faster than the general one.

Axes: B rows, N new tokens, T cached tokens, G query heads that share a key head, K key heads.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import Qwen2ForCausalLM

#: a long prompt is read a few rows at a time: scores of all rows at once would not fit the cache
TOKENS_AT_ONCE = 4096


class Decoder:
    """Reads tokens of many rows in step; rows are padded on the left."""

    def __init__(self, model: Qwen2ForCausalLM, rows: int, tokens: int) -> None:
        config: Any = model.config
        self._model = model
        self._heads, self._shared = config.num_attention_heads, config.num_key_value_heads
        size = (config.num_hidden_layers, rows, self._shared, tokens, config.head_dim)
        self._keys = torch.zeros(size, device=model.device, dtype=model.dtype)
        self._values = torch.zeros_like(self._keys)
        self._hidden = torch.ones(rows, tokens, dtype=torch.bool, device=model.device)
        self._positions = torch.zeros(rows, 1, dtype=torch.long, device=model.device)
        self._length = 0

    def read(self, tokens: Tensor, real: Tensor) -> Tensor:
        """Appends tokens [B, N], of which ``real`` are not padding; logits [B, vocabulary]."""
        start, end = self._length, self._length + tokens.shape[1]
        self._hidden[:, start:end] = ~real
        positions = (self._positions + real.cumsum(1) - 1).clamp(min=0)
        self._positions = positions[:, -1:] + 1
        self._length = end
        rows = max(1, TOKENS_AT_ONCE // tokens.shape[1])
        parts = [slice(i, i + rows) for i in range(0, len(tokens), rows)]
        return torch.cat([self._read(part, tokens[part], positions[part]) for part in parts])

    def _read(self, rows: slice, tokens: Tensor, positions: Tensor) -> Tensor:
        network: Any = self._model.model
        states = network.embed_tokens(tokens)
        turn = network.rotary_emb(states, positions)
        bias = self._bias(rows, tokens.shape[1])
        for i, layer in enumerate(network.layers):
            mixed = self._attend(i, rows, layer.input_layernorm(states), turn, bias)
            states = states + layer.self_attn.o_proj(mixed)
            states = states + layer.mlp(layer.post_attention_layernorm(states))
        return functional.linear(network.norm(states[:, -1]), network.embed_tokens.weight)

    def keep(self, rows: Tensor) -> None:
        """Forgets all rows but these."""
        end = self._length
        self._keys = _kept(self._keys, rows, end)
        self._values = _kept(self._values, rows, end)
        self._hidden, self._positions = self._hidden[rows], self._positions[rows]

    def _bias(self, rows: slice, new: int) -> Tensor:
        """What is added to the scores: [B, 1, N, T], very low at padding and at the future."""
        hidden = self._hidden[rows, None, : self._length]
        future = torch.ones(new, self._length, dtype=torch.bool, device=hidden.device)
        hidden = (hidden | future.triu(1 + self._length - new))[:, None]
        return torch.zeros(hidden.shape, device=hidden.device).masked_fill_(hidden, -1e9)

    def _attend(
        self, index: int, part: slice, states: Tensor, turn: tuple[Tensor, Tensor], bias: Tensor
    ) -> Tensor:
        layer: Any = self._model.model.layers[index]
        attention = layer.self_attn
        rows, new, _ = states.shape
        start, end = self._length - new, self._length
        query = _turned(attention.q_proj(states).view(rows, new, self._heads, -1), turn)
        keys, values = self._keys[index, part], self._values[index, part]
        shape = (rows, new, self._shared, -1)
        keys[:, :, start:end] = _turned(attention.k_proj(states).view(shape), turn)
        values[:, :, start:end] = attention.v_proj(states).view(shape).transpose(1, 2)
        group = self._heads // self._shared
        query = query.reshape(rows, self._shared, group * new, -1)
        mixed = functional.scaled_dot_product_attention(
            query, keys[:, :, :end], values[:, :, :end], attn_mask=bias.repeat(1, 1, group, 1)
        )
        mixed = mixed.view(rows, self._heads, new, -1)
        return mixed.transpose(1, 2).reshape(rows, new, -1)


def _turned(states: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    """Rotary positions: [B, N, heads, 64] to [B, heads, N, 64]."""
    states = states.transpose(1, 2)
    cosine, sine = (part[:, None] for part in turn)
    half = states.shape[-1] // 2
    swapped = torch.cat([-states[..., half:], states[..., :half]], -1)
    return states * cosine + swapped * sine


def _kept(cache: Tensor, rows: Tensor, end: int) -> Tensor:
    smaller = cache.new_zeros(cache.shape[0], len(rows), *cache.shape[2:])
    smaller[:, :, :, :end] = cache[:, rows, :, :end]
    return smaller
