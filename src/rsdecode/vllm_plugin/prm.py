"""`Qwen2ForPrmModel` for vLLM: a Qwen 2 backbone under a value head (Skywork-o1-Open-PRM).

It differs from vLLM's own Qwen 2 reward models in its head: one linear layer with a bias,
`v_head.summary`, to a single output, of which vLLM takes the sigmoid.
"""
# pyright: basic, reportMissingImports=false

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn
from vllm.config import VllmConfig
from vllm.model_executor.layers.linear import ReplicatedLinear
from vllm.model_executor.layers.pooler.tokwise import pooler_for_token_classify
from vllm.model_executor.models.interfaces_base import default_pooling_type
from vllm.model_executor.models.llama import LlamaModel
from vllm.model_executor.models.qwen2 import Qwen2Model
from vllm.model_executor.models.qwen2_rm import Qwen2RewardBaseModel
from vllm.model_executor.models.utils import maybe_prefix

BACKBONE = ("layers.", "embed_tokens.", "norm.")


@default_pooling_type(tok_pooling_type="STEP")
class Qwen2ForPrmModel(Qwen2RewardBaseModel):
    """One reward for each token, or for each step mark where the pooler knows its id."""

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "") -> None:
        nn.Module.__init__(self)  # not the base's, which makes another head
        model_config = vllm_config.model_config
        self.config = model_config.hf_config
        self.config.num_labels = 1
        self.quant_config = vllm_config.quant_config
        self.head_dtype = model_config.head_dtype
        self.model = backbone(vllm_config, maybe_prefix(prefix, "model"))
        self.score = ReplicatedLinear(
            self.config.hidden_size, 1, bias=True, params_dtype=self.head_dtype, return_bias=False
        )
        self.make_empty_intermediate_tensors = self.model.make_empty_intermediate_tensors
        assert model_config.pooler_config is not None
        self.pooler = pooler_for_token_classify(model_config.pooler_config)

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]]) -> set[str]:
        """Load a checkpoint in any of the layouts that are about (see `rename`)."""
        return super().load_weights((rename(name), tensor) for name, tensor in weights)


def backbone(vllm_config: VllmConfig, prefix: str) -> nn.Module:
    """The transformer.

    vLLM's Qwen 2 takes the head size for hidden size over heads, whatever `head_dim` says. Its
    Llama does not, and with biases of queries, keys and values it is the same network.
    """
    config = vllm_config.model_config.hf_config
    usual = config.hidden_size // config.num_attention_heads
    if getattr(config, "head_dim", None) in (None, usual):
        return Qwen2Model(vllm_config=vllm_config, prefix=prefix)
    config.qkv_bias = True
    return LlamaModel(vllm_config=vllm_config, prefix=prefix)


def rename(name: str) -> str:
    """The name here of a checkpoint's tensor.

    The head is `v_head.summary`, and everything may be under `pretrained_model.`, as TRL saves it.
    """
    name = name.removeprefix("pretrained_model.")
    if name.startswith(BACKBONE):
        return f"model.{name}"
    return name.replace("v_head.summary.", "score.", 1)
