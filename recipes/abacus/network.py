"""The networks: Qwen2 language models, and a Qwen2 backbone with a value head for the PRM."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM, Qwen2Model

from recipes.abacus.config import Shape


def qwen2_config(shape: Shape, tokenizer: PreTrainedTokenizerFast) -> Qwen2Config:
    """The transformers configuration of one shape."""
    configuration: Any = Qwen2Config
    return configuration(
        vocab_size=len(tokenizer),
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_value_heads,
        intermediate_size=shape.feed_forward,
        head_dim=64,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def language_model(shape: Shape, tokenizer: PreTrainedTokenizerFast, seed: int) -> Qwen2ForCausalLM:
    """A freshly initialised draft or target."""
    torch.manual_seed(seed)
    return Qwen2ForCausalLM(qwen2_config(shape, tokenizer))


class ValueHead(nn.Module):
    """One number per position; its name in a checkpoint is ``v_head.summary``."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.summary = nn.Linear(hidden, 1)

    def forward(self, states: Tensor) -> Tensor:
        """[batch, token, hidden] to logits [batch, token]."""
        return self.summary(states).squeeze(-1)


class Reading(NamedTuple):
    """What the PRM says at every position."""

    values: Tensor  # [batch, token], before the sigmoid
    words: Tensor  # [batch, token, vocabulary], next-token logits


class RewardNetwork(nn.Module):
    """Skywork's ``Qwen2ForPrmModel`` layout; it also predicts tokens, only while training."""

    def __init__(self, config: Qwen2Config) -> None:
        super().__init__()
        self.config = config
        self.model = Qwen2Model(config)
        self.v_head = ValueHead(config.hidden_size)

    def forward(self, input_ids: Tensor) -> Reading:
        """Reads right-padded rows; padding lies in the future, so no mask is needed."""
        states = self.model(input_ids=input_ids, use_cache=False).last_hidden_state
        words = states @ self.model.embed_tokens.weight.T.to(states.dtype)
        return Reading(self.v_head(states), words)


def reward_network(shape: Shape, tokenizer: PreTrainedTokenizerFast, seed: int) -> RewardNetwork:
    """A freshly initialised PRM."""
    torch.manual_seed(seed)
    return RewardNetwork(qwen2_config(shape, tokenizer))


def parameter_count(network: nn.Module) -> int:
    """All parameters, tied ones once."""
    return sum(parameter.numel() for parameter in network.parameters())
