"""Teaches vLLM the architecture of Skywork's process reward models, and to wait without spinning.

vLLM calls `register` in each of its processes: it is the entry point `rsdecode` of the group
`vllm.general_plugins`, found wherever rsdecode and vLLM are installed together. Then

    vllm serve Skywork/Skywork-o1-Open-PRM-Qwen-2.5-1.5B

serves rewards by `POST /pooling` with the task `token_classify`: one row for each token, its reward
already a probability. Nothing here is imported by the rest of rsdecode.
"""

from __future__ import annotations

import os
import time
from typing import Any

ARCHITECTURE = "Qwen2ForPrmModel"
SPIN = "RSD_VLLM_SPIN_S"
"""How many seconds after a message vLLM's processes go on looking for the next one before they
sleep until it comes. rsd sets this for the servers that it starts on processors."""


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
        _spin_for(float(spin_s))


def _spin_for(seconds: float) -> None:
    """Shorten the time for which processes that wait for a message keep a core busy.

    It is one second in vLLM, for its workers and for the engine that waits for them, so that a
    server under load takes two cores whatever it has to do. Several servers on a few cores then
    keep each other from working.
    """
    try:
        from vllm.distributed.device_communicators import (  # pyright: ignore[reportMissingImports]
            shm_broadcast,  # pyright: ignore[reportUnknownVariableType]
        )
    except ImportError:
        return  # a vLLM that waits in another way

    def record_read(condition: Any) -> None:
        condition.last_read = time.monotonic() - condition.busy_loop_s + seconds

    shm_broadcast.SpinCondition.record_read = record_read
