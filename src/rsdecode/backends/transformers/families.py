"""Which model families the engine can run, and with which attention code of transformers.

The engine gives every model its own masks, positions and cache. Attention through SDPA takes them
as they are. Attention that a family computes by itself ("eager") may build masks of its own and
give other tokens without a complaint, so only families that were compared with `generate` pass:
`python -m benchmarks.architectures` does it for every family of the installed transformers.
"""

from __future__ import annotations

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

_ELSEWHERE = "serve it by vLLM or SGLang, or choose another model"


def attention_of(model_class: Any, config: Any) -> str:
    """The attention code that a model is to be loaded with: `sdpa` or `eager`.

    Args:
        model_class: of transformers; None where it cannot be told before loading.
        config: of the model.

    Raises:
        ModelLoadError: the engine cannot run this family.
    """
    text = config.get_text_config()
    if getattr(model_class, "_is_stateful", False):
        raise ModelLoadError(
            f"{text.model_type} has layers with a recurrent state, which cannot be rewound to an "
            f"earlier position: {_ELSEWHERE}"
        )
    attention_windows(text)
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
        ModelLoadError: layers that keep something else than keys and values, or attend otherwise.
    """
    window: int | None = getattr(config, "sliding_window", None)
    kinds: set[str] = set(getattr(config, "layer_types", None) or ())
    if unknown := sorted(kinds - {FULL, SLIDING}):
        other_masks = all(kind.endswith("_attention") and "linear" not in kind for kind in unknown)
        reason = (
            "whose masks this engine does not make"
            if other_masks
            else "whose state cannot be rewound to an earlier position"
        )
        raise ModelLoadError(
            f"{config.model_type} has {', '.join(unknown)} layers, {reason}: serve it by vLLM or "
            "SGLang, or choose a model with full or sliding attention"
        )
    if not kinds:
        return {FULL: window}
    return {kind: window if kind == SLIDING else None for kind in (FULL, SLIDING) if kind in kinds}
