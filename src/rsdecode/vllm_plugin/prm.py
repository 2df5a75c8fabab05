"""`Qwen2ForPrmModel` for vLLM: a Qwen 2 backbone under a value head (Skywork-o1-Open-PRM).

It differs from vLLM's own Qwen 2 reward models only in its head: one linear layer with a bias,
`v_head.summary`, to a single output, of which vLLM takes the sigmoid.
"""
# pyright: basic, reportMissingImports=false

from __future__ import annotations

from collections.abc import Iterable

import torch
from vllm.config import VllmConfig
from vllm.model_executor.layers.linear import ReplicatedLinear
from vllm.model_executor.layers.pooler.tokwise import pooler_for_token_classify
from vllm.model_executor.models.interfaces_base import default_pooling_type
from vllm.model_executor.models.qwen2_rm import Qwen2RewardBaseModel

BACKBONE = ("layers.", "embed_tokens.", "norm.")


@default_pooling_type(tok_pooling_type="STEP")
class Qwen2ForPrmModel(Qwen2RewardBaseModel):
    """One reward for each token, or for each step mark where the pooler knows its id."""

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "") -> None:
        config = vllm_config.model_config.hf_config
        config.num_labels = 1
        super().__init__(vllm_config=vllm_config, prefix=prefix)
        self.score = ReplicatedLinear(
            config.hidden_size, 1, bias=True, params_dtype=self.head_dtype, return_bias=False
        )
        pooler_config = vllm_config.model_config.pooler_config
        assert pooler_config is not None
        self.pooler = pooler_for_token_classify(pooler_config)

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]]) -> set[str]:
        """Load a checkpoint in any of the layouts that are about (see `rename`)."""
        return super().load_weights((rename(name), tensor) for name, tensor in weights)


def rename(name: str) -> str:
    """The name here of a checkpoint's tensor.

    The head is `v_head.summary`, and everything may be under `pretrained_model.`, as TRL saves it.
    """
    name = name.removeprefix("pretrained_model.")
    if name.startswith(BACKBONE):
        return f"model.{name}"
    return name.replace("v_head.summary.", "score.", 1)
