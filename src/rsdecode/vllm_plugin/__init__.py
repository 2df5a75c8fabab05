"""Teaches vLLM Skywork's process reward models, to score by steps, and to wait without spinning.

vLLM calls `register` in each of its processes: it is the entry point `rsdecode` of the group
`vllm.general_plugins`, found wherever rsdecode and vLLM are installed together. Then

    vllm serve Skywork/Skywork-o1-Open-PRM-Qwen-2.5-1.5B

serves rewards by `POST /pooling` with the task `token_classify`: one row for each token, its reward
already a probability. Nothing here is imported by the rest of rsdecode.
"""

from __future__ import annotations

import os

from rsdecode.vllm_plugin.prefix_cache import continue_prefixes
from rsdecode.vllm_plugin.waiting import spin_for

ARCHITECTURE = "Qwen2ForPrmModel"
SPIN = "RSD_VLLM_SPIN_S"
"""How many seconds after a message vLLM's processes go on looking for the next one before they
sleep until it comes. rsd sets this for the servers that it starts on processors."""
CONTINUE = "RSD_VLLM_PREFIX_CACHE"
"""Whether token classifiers read the prefix cache: 1 or nothing. rsd sets this for the process
reward models that it serves."""


def register() -> None:
    """Add the architecture to vLLM's registry, unless vLLM has come to know it itself.

    Raises:
        ValueError: the variable `RSD_VLLM_SPIN_S` is no number.
    """
    from vllm import (  # pyright: ignore[reportMissingImports]
        ModelRegistry,  # pyright: ignore[reportUnknownVariableType]
    )

    if ARCHITECTURE not in ModelRegistry.get_supported_archs():
        ModelRegistry.register_model(ARCHITECTURE, f"{__name__}.prm:{ARCHITECTURE}")
    if spin_s := os.environ.get(SPIN):
        spin_for(float(spin_s))
    if os.environ.get(CONTINUE) == "1":
        continue_prefixes()
