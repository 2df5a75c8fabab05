"""Writes tiny GGUF files with random weights: a byte-level vocabulary, ChatML, two layers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rsdecode.backends.llama_cpp.pieces import CONTROL, NORMAL, USER_DEFINED

HIDDEN, LAYERS, HEADS, FEED, CONTEXT = 64, 2, 4, 128, 512
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
CONTROLS = ("<|im_start|>", "<|im_end|>")
MERGES = ("t h", "th e", "\u010a \u010a", "\u0120 the", "1 2")


def characters() -> list[str]:
    """GPT-2's character for each byte."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    names = {byte: chr(byte) for byte in plain}
    others = [byte for byte in range(256) if byte not in names]
    return [(names | {b: chr(256 + i) for i, b in enumerate(others)})[b] for b in range(256)]


def vocabulary() -> tuple[list[str], list[int]]:
    """The tokens and their kinds."""
    words = [*characters(), *(merge.replace(" ", "") for merge in MERGES)]
    tokens = [*words, *CONTROLS, "<think>"]
    return tokens, [NORMAL] * len(words) + [CONTROL] * len(CONTROLS) + [USER_DEFINED]


def write(
    path: Path,
    *,
    seed: int = 0,
    template: str | None = CHATML,
    spelled: Sequence[int] | None = None,
    ends: float = 1.0,
    context: int = CONTEXT,
) -> Path:
    """Write a model.

    Args:
        path: of the file.
        seed: of the weights.
        template: its chat template; None for a file without one.
        spelled: bytes that it writes for the most part; by default printable ASCII and line breaks.
        ends: how readily it ends its answers; 0 for hardly ever.
    """
    from gguf import GGUFWriter

    tokens, kinds = vocabulary()
    random = np.random.default_rng(seed)
    writer: Any = GGUFWriter(str(path), "llama")
    writer.add_context_length(context)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FEED)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS // 2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(HIDDEN // HEADS)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(list(MERGES))
    writer.add_eos_token_id(tokens.index("<|im_end|>"))
    if template is not None:
        writer.add_chat_template(template)
    for name, value in weights(random, tokens, spelled, ends).items():
        writer.add_tensor(name, value.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def network(path: Path) -> Any:
    """The same model in transformers, in float32."""
    import torch
    from transformers import AutoModelForCausalLM

    loaded: Any = AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32
    )
    return loaded.eval()


def weights(
    random: Any, tokens: list[str], spelled: Sequence[int] | None, ends: float
) -> dict[str, Any]:
    """Random weights; one channel is the same for all tokens and says which are likely."""

    def matrix(rows: int, columns: int) -> Any:
        return random.normal(0.0, columns**-0.5, (rows, columns))

    kv = HIDDEN // 2
    embedding, output = matrix(len(tokens), HIDDEN) * 4, matrix(len(tokens), HIDDEN) * 8
    embedding[:, 0], output[:, 0] = 8.0, -8.0
    likely = [*range(32, 127), 10] if spelled is None else list(spelled)
    output[likely, 0] = 4.0
    output[256 : 256 + len(MERGES), 0] = 4.0 if spelled is None else -8.0
    output[tokens.index("<|im_end|>"), 0] = 4.0 * ends - 8.0 * (1 - ends)
    found: dict[str, Any] = {
        "token_embd.weight": embedding,
        "output.weight": output,
        "output_norm.weight": np.ones(HIDDEN),
    }
    for layer in range(LAYERS):
        parts = {
            "attn_q": (HIDDEN, HIDDEN),
            "attn_k": (kv, HIDDEN),
            "attn_v": (kv, HIDDEN),
            "attn_output": (HIDDEN, HIDDEN),
            "ffn_gate": (FEED, HIDDEN),
            "ffn_up": (FEED, HIDDEN),
            "ffn_down": (HIDDEN, FEED),
        }
        for name, sizes in parts.items():
            found[f"blk.{layer}.{name}.weight"] = matrix(*sizes)
        for name in ("attn_norm", "ffn_norm"):
            found[f"blk.{layer}.{name}.weight"] = np.ones(HIDDEN)
    return found


__all__ = ["CHATML", "CONTEXT", "network", "vocabulary", "write"]
