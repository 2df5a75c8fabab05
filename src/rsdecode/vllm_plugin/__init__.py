"""Teaches vLLM the architecture of Skywork's process reward models.

vLLM calls `register` in each of its processes: it is the entry point `rsdecode` of the group
`vllm.general_plugins`, found wherever rsdecode and vLLM are installed together. Then

    vllm serve Skywork/Skywork-o1-Open-PRM-Qwen-2.5-1.5B

serves rewards by `POST /pooling` with the task `token_classify`: one row for each token, its reward
already a probability. Nothing here is imported by the rest of rsdecode.
"""

from __future__ import annotations

ARCHITECTURE = "Qwen2ForPrmModel"


def register() -> None:
    """Add the architecture to vLLM's registry, unless vLLM has come to know it itself."""
    from vllm import (  # pyright: ignore[reportMissingImports]
        ModelRegistry,  # pyright: ignore[reportUnknownVariableType]
    )

    if ARCHITECTURE not in ModelRegistry.get_supported_archs():
        ModelRegistry.register_model(ARCHITECTURE, f"{__name__}.prm:{ARCHITECTURE}")
