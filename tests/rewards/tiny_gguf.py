"""Networks of tiny reward models as GGUF files, as llama.cpp's converter writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import (
    load_file,  # pyright: ignore[reportUnknownVariableType]
    save_file,  # pyright: ignore[reportUnknownVariableType]
)
from transformers import AutoTokenizer

from rsdecode.backends.llama_cpp.pieces import CONTROL, NORMAL, USER_DEFINED

_PARTS = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
_OUTER = {
    "embed_tokens.weight": "token_embd.weight",
    "norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}


def write(folder: Path, path: Path, *, slim: bool = True) -> Path:
    """Write the network of a Qwen2 checkpoint; `slim` leaves nothing but the head in the folder."""
    from gguf import GGUFWriter

    config: dict[str, Any] = json.loads((folder / "config.json").read_text())
    tensors: dict[str, Any] = load_file(folder / "model.safetensors")
    writer: Any = GGUFWriter(str(path), "qwen2")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    _add_vocabulary(writer, folder, config["vocab_size"])
    head: dict[str, Any] = {}
    for name, value in tensors.items():
        bare = name.removeprefix("pretrained_model.").removeprefix("model.")
        if (place := _place(bare)) is not None:
            writer.add_tensor(place, np.ascontiguousarray(value, dtype=np.float32))
        else:
            head[name] = value
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    if slim:
        (folder / "model.safetensors").unlink()
        if head:
            save_file(head, folder / "head.safetensors")
    return path


def _place(name: str) -> str | None:
    if name in _OUTER:
        return _OUTER[name]
    if not name.startswith("layers."):
        return None
    _, number, rest = name.split(".", 2)
    module, _, part = rest.rpartition(".")
    return f"blk.{number}.{_PARTS[module]}.{part}"


def _add_vocabulary(writer: Any, folder: Path, size: int) -> None:
    loader: Any = AutoTokenizer
    words: Any = loader.from_pretrained(folder)
    tokens: list[str] = words.convert_ids_to_tokens(list(range(size)))
    added: dict[int, Any] = words.added_tokens_decoder
    kinds = [
        NORMAL if i not in added else CONTROL if added[i].special else USER_DEFINED
        for i in range(len(tokens))
    ]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(["\u010a \u010a", "\u0120 +", "\u0120 -"])
    writer.add_eos_token_id(tokens.index("<eos>"))
