"""Which model families the engine can run, and with which attention code of transformers.

The engine gives every model its own masks, positions and cache. Attention through SDPA takes them
as they are. Attention that a family computes by itself ("eager") may build masks of its own and
give other tokens without a complaint, so only families that were compared with `generate` pass:
`python -m benchmarks.architectures` does it for every family of the installed transformers.

Layers with a recurrent or convolution state know no padding: what enters their state stays. And
the code of some families continues a chunk of several tokens from the state, that of others begins
anew, without a complaint too. Only those of which the first is known are given such chunks.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

from rsdecode.core.errors import ModelLoadError

FULL: str = "full_attention"
SLIDING: str = "sliding_attention"
EAGER = frozenset(
    {
        "flint", "gemma2", "gpt_oss", "granite_swa", "granitemoe_swa", "mimo_v2_flash", "mpt",
        "vaultgemma", "xglm",
    }
)  # fmt: skip
"""Families without SDPA whose eager attention gives `generate`'s tokens with our masks."""

CHUNKED = frozenset(
    {
        "bailing_hybrid", "bamba", "falcon_h1", "granitemoehybrid", "kimi_linear", "lara_mini",
        "lfm2", "lfm2_moe", "lfm3", "mamba2", "nemotron_h", "olmo_hybrid", "qwen3_5_moe_text",
        "qwen3_5_text", "qwen3_next", "zamba2", "zaya",
    }
)  # fmt: skip
"""Families with a state whose code continues a chunk of several tokens from it."""


class Reading(Enum):
    """How tokens of several sequences may be computed in one forward pass.

    Attributes:
        PADDED: rows of any lengths; padding is masked.
        EVEN: rows of one length, as padding would enter their states.
        SINGLE: as EVEN, and behind the first tokens of a sequence one token at a time: the
            family's code begins every longer chunk anew and loses the state.
        WHOLE: as EVEN, and never one token of a text that is read: the family's code for one token
            computes something else than that for several. What was written, which is token by
            token, is read again before it is continued.
    """

    PADDED = "padded"
    EVEN = "even"
    SINGLE = "single"
    WHOLE = "whole"


_ELSEWHERE = "serve it by vLLM or SGLang, or choose another model"
_ATTENTION = {
    FULL: FULL, SLIDING: SLIDING, "hybrid": FULL, "hybrid_sliding": SLIDING,
}  # fmt: skip
_STATES = frozenset({"linear_attention", "conv", "hybrid", "hybrid_sliding"})
_NOTHING = frozenset({"moe", "mlp"})
_NO_LIMIT = (0.0, float("inf"))
"""Time steps of Mamba 2 are limited in its code for several tokens, not in that for one."""


_REFUSED = {
    "recurrent_gemma": "keeps the states of its linear_attention layers in these layers, for one "
    "batch at a time, not in the cache that it is given",
    "minimax": "takes the states of its linear_attention layers from a cache class of its own "
    "alone",
    "inkling_text": "has hybrid layers that count relative positions from one offset for all rows "
    "of a batch",
}
"""Families whose own code stands in the way, by what it does."""


def attention_of(model_class: Any, config: Any) -> str:
    """The attention code that a model is to be loaded with: `sdpa` or `eager`.

    Args:
        model_class: of transformers; None where it cannot be told before loading.
        config: of the model.

    Raises:
        ModelLoadError: the engine cannot run this family.
    """
    text = config.get_text_config()
    if reason := _REFUSED.get(text.model_type):
        raise ModelLoadError(f"{text.model_type} {reason}: {_ELSEWHERE}")
    if getattr(model_class, "_is_stateful", False) and not _layer_types(text):
        raise ModelLoadError(
            f"{text.model_type} hands its layers' recurrent state on by code of its own, not in "
            f"the cache that it is given: {_ELSEWHERE}"
        )
    if not attention_windows(text):
        return "eager"  # no attention at all
    if getattr(text, "attn_logit_softcapping", None):
        return "eager"  # SDPA would leave the soft cap out
    if getattr(model_class, "_supports_sdpa", True):
        return "sdpa"
    if text.model_type in EAGER:
        return "eager"
    raise ModelLoadError(
        f"{text.model_type} computes attention by code of its own (transformers has no SDPA for "
        f"it), which is not known to give the right tokens in this engine: {_ELSEWHERE}"
    )


def attention_windows(config: Any) -> dict[str, int | None]:
    """The kinds of attention layers of a model, each with its sliding window in tokens.

    Raises:
        ModelLoadError: layers that keep something else than keys, values and states, or attend
            otherwise.
    """
    window: int | None = getattr(config, "sliding_window", None)
    kinds = _layer_types(config)
    if unknown := sorted(kinds - _ATTENTION.keys() - _STATES - _NOTHING):
        raise ModelLoadError(
            f"{config.model_type} has {', '.join(unknown)} layers, whose masks this engine does "
            "not make: serve it by vLLM or SGLang, or choose a model with full or sliding "
            "attention"
        )
    if not kinds:
        return {FULL: window}
    attending = {_ATTENTION[kind] for kind in kinds if kind in _ATTENTION}
    ordered = [kind for kind in (FULL, SLIDING) if kind in attending]
    return {kind: window if kind == SLIDING else None for kind in ordered}


def reading_of(model: Any) -> Reading:
    """How a model's forward passes are made up."""
    config = model.config.get_text_config()
    if not _layer_types(config) & _STATES:
        return Reading.PADDED
    if config.model_type not in CHUNKED:
        return Reading.SINGLE
    limits = [m.time_step_limit for m in model.modules() if hasattr(m, "time_step_limit")]
    limited = any(tuple(limit or _NO_LIMIT) != _NO_LIMIT for limit in limits)
    return Reading.WHOLE if limited else Reading.EVEN


def masks_by_layer(config: Any, masks: dict[str, Any]) -> Any:
    """The masks in the form that a model takes: the only one, or each under its layers' kinds."""
    if len(masks) <= 1:
        return next(iter(masks.values()), None)
    stateless = dict.fromkeys(_STATES - _ATTENTION.keys())
    kinds = {kind: masks[_ATTENTION[kind]] for kind in _layer_types(config) & _ATTENTION.keys()}
    return masks | kinds | (stateless if _layer_types(config) & _STATES else {})


def _layer_types(config: Any) -> set[str]:
    return set(getattr(config, "layer_types", None) or ())
