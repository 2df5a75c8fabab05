"""Tiny random models, made in a second: for exactness, not for sense."""

from __future__ import annotations

from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    MistralConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

MERGES = [
    ("\u010a", "\u010a"),
    ("\u0120", "t"),
    ("h", "e"),
    ("\u0120t", "he"),
    (".", "\u010a\u010a"),
]
"""Newline pairs, words with a leading space, and a full stop that swallows a separator."""


def tokenizer(*, eos: bool = True, chat: bool = False) -> PreTrainedTokenizerFast:
    """A byte-level BPE that encodes any text; id 0 is the end of sequence."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = ["<eos>", *alphabet, *("".join(pair) for pair in MERGES)]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=MERGES))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>" if eos else None)
    if chat:
        fast.chat_template = (
            "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"
            "{% if add_generation_prompt %}[assistant] {% endif %}"
        )
    return fast


SHAPE: dict[str, Any] = {
    "vocab_size": 257 + len(MERGES),
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 512,
    "eos_token_id": 0,
    "bos_token_id": None,
    "pad_token_id": 0,
    "initializer_range": 0.4,
}

CONFIGS: dict[str, Any] = {
    "qwen2": lambda: Qwen2Config(**SHAPE, tie_word_embeddings=True),
    "llama": lambda: LlamaConfig(**SHAPE, tie_word_embeddings=False),
    "mistral-sliding": lambda: MistralConfig(**SHAPE, sliding_window=12),
    "gemma3-mixed": lambda: Gemma3TextConfig(
        **SHAPE,
        sliding_window=8,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
    ),
}


def causal_model(name: str = "qwen2", seed: int = 0) -> Any:
    """A random causal language model of a family, in float32."""
    torch.manual_seed(seed)
    auto: Any = AutoModelForCausalLM  # its methods are partly untyped
    model = auto.from_config(CONFIGS[name]())
    model.generation_config.eos_token_id = 0
    return model.eval()


def greedy(model: Any, ids: tuple[int, ...], count: int) -> list[int]:
    """Greedy continuation without any cache: a full forward pass for every token."""
    sequence = list(ids)
    for _ in range(count):
        with torch.inference_mode():
            logits = model(torch.tensor([sequence]), use_cache=False).logits[0, -1]
        sequence.append(int(logits.argmax()))
        if sequence[-1] == 0:
            break
    return sequence[len(ids) :]
