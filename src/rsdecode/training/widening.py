"""A wider backbone, whose new layers find which token was read beside what was expected there.

A language model's last state tells what it expects next, and has all but forgotten which token it
has read: in the target of the embedded family that token's embedding is a two-thousandth of it. So
layers behind it cannot compare the two. Here the residual stream gets further dimensions (lanes)
that carry a projection of each token's embedding past the backbone, which neither reads nor writes
them. The first new layer brings it together with the expectation one token back, the last one looks
for the lowest value so far; what is compared, and how, is learnt.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rsdecode.core.errors import ConfigError
from rsdecode.training.growth import PAIRS, add_layers, look_back, train_only_new

WIDENED = "rsd_widened"
"""In config.json: how many of the hidden dimensions carry tokens."""
SHARE = 0.02
"""Of the lanes in an embedding's length: too little to change what the backbone computes."""
CLOSE = 1e-2
"""Relative change of the backbone's outputs that is still none."""
ROTARY = ("default", "yarn", "llama3")
"""Types of rotary positions that turn the fastest pairs by their usual angles."""
SHARPNESS, GAIN = 1.5, 4.0
"""How sharply the last layer looks for the lowest value, and what it makes of it."""


@dataclass(frozen=True, slots=True)
class _Form:
    """Of a backbone: hidden size, heads, key and value heads, their size, new dimensions."""

    hidden: int
    heads: int
    groups: int
    size: int

    @property
    def lanes(self) -> int:
        return self.groups * self.size


@torch.no_grad()
def widen(network: Any, count: int, name: str) -> tuple[Any, Tensor]:
    """A wider copy of a backbone, with new layers behind it.

    Its other outputs stay what they were. The residual stream is scaled as well, so that the last
    state has entries of about 1, which is what new layers write. Of the new layers only what they
    make of the two can be trained: all of those between the first and the last, and the MLP of the
    first. With one alone nothing takes the lowest value.

    Args:
        network: a decoder of transformers.
        count: of new layers, at least 1.
        name: of the backbone, for messages.

    Returns:
        The wider network, and the direction in its outputs [H] in which a head begins to read.

    Raises:
        ConfigError: its layers are not of the form of Qwen 2.
    """
    form = _form_of(network, name)
    dtype = network.dtype
    network = network.float()  # a copy in bfloat16 would differ by its rounding
    ids = torch.arange(min(256, network.config.vocab_size), device=network.device)[None]
    before = network(input_ids=ids, use_cache=False).last_hidden_state
    scale = _scale_of(network, ids)
    words: Tensor = network.get_input_embeddings().weight.float()
    directions = _directions(words, form.lanes)
    carried = (words - words.mean(0)) @ directions.T
    size = SHARE * words.square().mean().sqrt() / scale
    wide = _wider(network, form, scale)
    embeddings = wide.get_input_embeddings().weight
    embeddings[:, form.hidden :] = carried * size / carried.square().mean(0).sqrt()
    after = wide(input_ids=ids, use_cache=False).last_hidden_state[..., : form.hidden]
    if not bool((after - before).float().norm() <= CLOSE * before.float().norm()):
        raise _refused(name, "a wider copy computes something else")
    add_layers(wide, count, name)
    error, lowest = form.hidden + form.size // 2 - 1, form.hidden + form.size - 1
    expected = directions * wide.norm.weight[: form.hidden]
    _compare(wide.layers[-count], wide.config, form, expected, float(1 / size))
    train_only_new(wide, count)
    _keep_attention(wide.layers[-count])
    if count > 1:
        _take_lowest(wide.layers[-1], form, error, lowest)
        wide.layers[-1].requires_grad_(False)
    reads = torch.zeros(form.hidden + form.lanes, device=network.device)
    reads[error] = reads[lowest] = 1.0
    for weights in wide.parameters():  # not its buffers: they stay in float32, as when it is loaded
        weights.data = weights.data.to(dtype)
    return wide, reads


def _directions(words: Tensor, count: int) -> Tensor:
    """In which embeddings [V, H] differ most: [count, H]."""
    linalg: Any = torch.linalg  # its named tuples have no types
    vectors: Tensor = linalg.eigh(torch.cov(words.T)).eigenvectors
    return vectors.flip(1)[:, :count].T


def _form_of(network: Any, name: str) -> _Form:
    config: Any = network.config
    layers: Any = getattr(network, "layers", None)
    attention: Any = getattr(layers[-1], "self_attn", None) if layers else None
    queries, keys, ends = (
        getattr(getattr(attention, part, None), "bias", None)
        for part in ("q_proj", "k_proj", "o_proj")
    )
    if queries is None or keys is None or ends is not None:
        raise _refused(name, "attention has no biases where Qwen 2 has them")
    if not hasattr(network, "norm") or not hasattr(config, "rms_norm_eps"):
        raise _refused(name, "it has no RMS norms")
    heads, groups = config.num_attention_heads, config.num_key_value_heads
    size = queries.shape[0] // heads
    if heads * size != config.hidden_size:
        raise _refused(name, f"{heads} heads of {size} are not its hidden size")
    if size < 4 * PAIRS:
        raise _refused(name, f"its heads of {size} are smaller than {4 * PAIRS}")
    rope: Any = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type") not in ROTARY or "rope_theta" not in rope:
        raise _refused(name, f"its rotary positions are of the type {rope.get('rope_type')!r}")
    if "sliding_attention" in (getattr(config, "layer_types", None) or ())[-1:]:
        raise _refused(name, "its last layer looks back over a window alone")
    return _Form(config.hidden_size, heads, groups, size)


def _refused(name: str, why: str) -> ConfigError:
    return ConfigError(f"--widen: {name!r} is not of the form of Qwen 2: {why}; leave it out")


def _scale_of(network: Any, ids: Tensor) -> Tensor:
    """How large the entries of the last state are, before its norm."""
    seen: list[Tensor] = []

    def see(_: Any, given: tuple[Tensor, ...]) -> None:
        seen.append(given[0])

    hook = network.norm.register_forward_pre_hook(see)
    network(input_ids=ids, use_cache=False)
    hook.remove()
    return seen[0].float().square().mean(-1).sqrt().median()


def _wider(network: Any, form: _Form, scale: Tensor) -> Any:
    """The same network in a wider residual stream, in which the new dimensions stay as they are."""
    config = copy.deepcopy(network.config)
    width = form.hidden + form.lanes
    config.hidden_size = width
    config.num_attention_heads = form.heads + form.groups
    setattr(config, WIDENED, form.lanes)
    config.rms_norm_eps *= form.hidden / width / float(scale) ** 2
    wide = type(network)(config).to(device=network.device, dtype=network.dtype)
    shrunk = (form.hidden / width) ** 0.5
    known = network.state_dict()
    for key, new in wide.state_dict().items():
        old = known[key]
        kind = key.rpartition(".")[0].rpartition(".")[2]
        new.zero_()
        if kind == "q_proj":  # each group of heads gets one more
            ours = old.view(form.groups, -1, form.size, *old.shape[1:])
            theirs = new.view(form.groups, -1, form.size, *new.shape[1:])
            _copy(ours, theirs)
        elif kind == "o_proj":
            ours = old.view(form.hidden, form.groups, -1, form.size)
            theirs = new.view(width, form.groups, -1, form.size)
            _copy(ours / scale, theirs)
        elif kind in ("down_proj", "embed_tokens"):
            _copy(old / scale, new)
        elif old.dim() == 1 and old.shape[0] == form.hidden and new.shape[0] == width:
            new.fill_(1.0)
            _copy(old * shrunk, new)
        else:
            _copy(old, new)
    return wide.eval()


def _copy(old: Tensor, new: Tensor) -> None:
    new[tuple(slice(size) for size in old.shape)] = old


def _compare(layer: Any, config: Any, form: _Form, directions: Tensor, strength: float) -> None:
    """Lanes of the token, and what one token back was expected, side by side in the lanes.

    All heads of a group share values: half of them carry the one, half the other.
    """
    attention, half, hidden = layer.self_attn, form.size // 2, form.hidden
    for part in (attention.q_proj, attention.k_proj):
        part.weight[: 2 * form.size if part is attention.q_proj else form.size] = 0
    layer.input_layernorm.weight[hidden:] = strength**0.5  # in two factors, for float16
    look_back(attention, config, head=1, distance=0)
    own = torch.arange(half - 1)
    attention.v_proj.weight[: form.size] = 0
    attention.v_proj.weight[own, hidden + own] = strength**0.5
    attention.v_proj.weight[half + own, :hidden] = directions[: half - 1]
    attention.o_proj.weight[hidden + own, form.size + own] = 1.0
    attention.o_proj.weight[hidden + half + own, half + own] = 1.0
    for part in (layer.mlp.gate_proj, layer.mlp.up_proj):
        torch.nn.init.normal_(part.weight[:, hidden:], std=form.lanes**-0.5)


def _keep_attention(layer: Any) -> None:
    """What it finds is given; only what the layer makes of it is learnt."""
    layer.self_attn.requires_grad_(False)
    layer.input_layernorm.requires_grad_(False)


def _take_lowest(layer: Any, form: _Form, error: int, lowest: int) -> None:
    """Look for the token with the lowest value so far, and pass that value on.

    Keys carry the value on the slowest rotary pair, which hardly depends on the distance.
    """
    attention, slow = layer.self_attn, form.size // 2 - 1
    for part in (attention.q_proj, attention.k_proj, attention.v_proj):
        part.weight[: form.size] = 0
        part.bias[: form.size] = 0
    attention.k_proj.weight[slow, error] = -1.0
    attention.q_proj.bias[slow] = form.size**0.5 * SHARPNESS
    attention.v_proj.weight[0, error] = 1.0
    attention.o_proj.weight[lowest, 0] = GAIN
