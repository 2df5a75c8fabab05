"""Tiny random models of every decoder-only family of the installed transformers."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM
from transformers.models.auto import modeling_auto

LAYERS, HEADS, WIDTH, WINDOW, TOKENS = 4, 4, 64, 8, 96
MOST_PARAMETERS = 20_000_000

_SIZES: tuple[tuple[int | None, tuple[str, ...]], ...] = (
    (TOKENS, ("vocab_size", "vocab_size_per_layer_input")),
    (WIDTH, (
        "hidden_size", "n_embd", "n_embed", "d_model", "hidden_dim", "embed_dim", "dim",
        "word_embed_proj_dim",
    )),
    (48, (
        "intermediate_size", "intermediate_size_mlp", "ffn_dim", "ffn_hidden_size", "n_inner",
        "d_ff", "dff", "dim_ff", "decoder_ffn_dim", "mlp_hidden_size",
    )),
    (32, ("moe_intermediate_size", "shared_expert_intermediate_size")),
    (LAYERS, ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers")),
    (HEADS, (
        "num_attention_heads", "n_head", "n_heads", "num_heads", "attention_heads",
        "decoder_attention_heads", "swa_num_attention_heads", "num_experts", "num_local_experts",
        "n_routed_experts", "moe_num_experts", "linear_num_value_heads", "prompt_length",
        "index_block_size",
    )),
    (2, (
        "num_key_value_heads", "num_kv_heads", "n_head_kv", "swa_num_key_value_heads",
        "num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_k", "top_k_experts",
        "index_n_heads", "index_topk_blocks", "linear_num_key_heads", "prompt_types",
    )),
    (1, (
        "n_shared_experts", "num_shared_experts", "moe_num_shared_experts", "n_group",
        "topk_group", "num_expert_group", "first_k_dense_replace", "n_groups", "mamba_n_groups",
        "bos_token_id", "eos_token_id", "index_local_blocks",
    )),
    (WIDTH // HEADS, (
        "head_dim", "swa_head_dim", "global_head_dim", "attention_head_dim", "kv_channels",
        "d_head", "dim_head", "v_head_dim", "swa_v_head_dim", "q_lora_rank", "kv_lora_rank",
        "o_lora_rank", "qk_head_dim", "index_head_dim", "mamba_d_head", "mamba_head_dim",
        "linear_key_head_dim", "linear_value_head_dim",
    )),
    (WINDOW, (
        "sliding_window", "window_size", "attention_window", "attention_chunk_size",
        "qk_rope_head_dim", "qk_nope_head_dim", "rotary_dim", "index_topk", "state_size",
        "ssm_state_size", "mamba_d_state", "mamba_n_heads", "mamba_num_heads",
        "hidden_size_per_layer_input",
    )),
    (256, (
        "max_position_embeddings", "n_positions", "max_seq_len", "n_ctx", "seq_length",
        "max_sequence_length",
    )),
    (0, ("num_kv_shared_layers", "pad_token_id")),
    (None, ("layer_types",)),
)  # fmt: skip
_GIVEN = {name: size for size, names in _SIZES for name in names}
_ALTERNATING = ["linear_attention", "full_attention"] * (LAYERS // 2)
_SHARED = ["linear_attention", "linear_attention", "hybrid", "linear_attention", "hybrid"]
_SPECIAL: dict[str, dict[str, Any]] = {
    "gpt_neo": {"attention_types": [[["global", "local"], LAYERS // 2]]},
    "dots3_note_text": {"num_key_value_heads": HEADS},
    "bert-generation": {"is_decoder": True},
    "dbrx": {
        "attn_config": {"kv_n_heads": 2, "rope_theta": 1e4, "clip_qkv": 8.0},
        "ffn_config": {"hidden_size": WIDTH, "ffn_hidden_size": 48, "moe_num_experts": 4},
    },
    "bailing_hybrid": {"layer_group_size": 2},
    "bamba": {"attn_layer_indices": [1, 3]},
    "falcon_h1": {"mamba_d_ssm": WIDTH, "mamba_n_heads": 4, "mamba_d_head": WIDTH // 4},
    "granitemoehybrid": {"layer_types": _ALTERNATING, "shared_intermediate_size": 48},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "kimi_linear": {"layer_types": _ALTERNATING, "linear_head_dim": 16, "linear_num_heads": 4},
    "lfm2": {"layer_types": ["conv", "full_attention"] * (LAYERS // 2)},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * (LAYERS // 2)},
    "mamba2": {"num_heads": 8, "head_dim": WIDTH // 4},
    "zamba": {"layers_block_type": _SHARED, "num_hidden_layers": len(_SHARED)},
    "zamba2": {
        "layers_block_type": _SHARED,
        "num_hidden_layers": len(_SHARED),
        "adapter_rank": 8,
    },
    "zaya": {"num_experts_per_tok": 1, "router_hidden_size": 16},
    "longcat_flash": {"expert_ffn_hidden_size": 32, "zero_expert_num": 2},
    "minimax_m3_vl_text": {"dense_intermediate_size": 48, "shared_intermediate_size": 48},
    "cohere_compass_text": {
        "rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 1e4}}
    },
}
"""What a family needs besides. Attention kinds, scales and norms stay as each family has them."""
_ATTENTION_PARTS = {"attn_config", "ffn_config"}


def families() -> list[str]:
    """The `model_type`s with a causal language model and no other face: no encoder."""
    auto: Any = modeling_auto
    encoders = {*auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES}
    pairs = {*auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES}
    return sorted(
        kind
        for kind in auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
        if kind not in encoders | pairs and not _has_other_inputs(kind)
    )


def model_class(family: str) -> Any:
    """Its causal language model."""
    return AutoModelForCausalLM._model_mapping[CONFIG_MAPPING[family]]  # type: ignore[attr-defined]


def tiny_config(family: str) -> Any:
    """Its configuration with small sizes; everything else is the family's default.

    Raises:
        Exception: of many kinds: the family wants sizes of its own.
    """
    kind: Any = CONFIG_MAPPING[family]
    names: dict[str, str] = getattr(kind, "attribute_map", {})
    known = {*kind().to_dict(), *inspect.signature(kind.__init__).parameters}
    known |= set(getattr(kind, "__annotations__", {}))
    given = {names.get(name, name): size for name, size in _GIVEN.items()}
    sizes = {name: size for name, size in given.items() if name in known}
    if "qk_rope_head_dim" in known:  # multi-head latent attention: heads have their own keys
        latent = {"num_key_value_heads": HEADS, "head_dim": sizes["qk_rope_head_dim"]}
        sizes |= {name: size for name, size in latent.items() if name in known}
    return kind(**(sizes | _SPECIAL.get(family, {})))


def tiny_model(family: str, seed: int = 0, tokens: int = TOKENS) -> Any:
    """A random model, in float32, whose tokens depend on all that it has read.

    Args:
        family: its `model_type`.
        seed: of its weights.
        tokens: size of its vocabulary.

    Raises:
        Exception: of many kinds: the family wants sizes of its own.
    """
    torch.manual_seed(seed)
    config = tiny_config(family)
    config.vocab_size = tokens
    auto: Any = AutoModelForCausalLM
    with torch.device("meta"):
        size = sum(p.numel() for p in auto.from_config(config).parameters())
    if size > MOST_PARAMETERS:
        raise ValueError(f"{size:,} parameters with the sizes that are known here")
    model: Any = auto.from_config(config)
    for name, weight in model.named_parameters():
        if weight.dim() > 1:  # the default 0.02 leaves attention nearly uniform
            torch.nn.init.normal_(weight, std=0.3 if "embed" not in name else 1.0)
    return model.eval()


def _has_other_inputs(family: str) -> bool:
    """Whether it is made of several models, for images or sound."""
    parts: dict[str, Any] = getattr(CONFIG_MAPPING[family], "sub_configs", {})
    return bool(set(parts) - _ATTENTION_PARTS)
