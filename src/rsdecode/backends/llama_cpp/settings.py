"""How a GGUF file is served: what the user says, and what is made of it on this machine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rsdecode.backends.llama_cpp.gguf_file import GgufFile
from rsdecode.core.errors import OutOfMemory
from rsdecode.text.pretrained import PLAIN_PROMPT

BLOCK = 256
"""llama.cpp's contexts are multiples of so many tokens."""
USUAL_CONTEXT = 5120
"""Tokens of a sequence where none is asked for: the longest answer of the default limits, and a
question."""
MOST_SLOTS = 8
"""Where none are asked for; on processors more sequences at once are hardly faster."""
SHARE = 0.8
"""Of the memory that is free, what weights and cache may take."""
GIB = 2**30


@dataclass(frozen=True, slots=True)
class LlamaCppOptions:
    """How a GGUF file is loaded and served.

    Attributes:
        slots: sequences at once, each with a context of its own; None for as many as fit into
            memory, up to `MOST_SLOTS`.
        max_context: tokens of a sequence at most; None for `USUAL_CONTEXT`, or less where the model
            was made for less.
        threads: that compute; None for one on each core.
        gpu_layers: layers on the GPU; None for all that fit, where llama.cpp was built for one.
        cache_mib: memory for the sequences that lost their slot to others.
        plain_prompt: with `{question}`; for models without a chat template.
        template: arguments of the chat template, such as `enable_thinking`.
        ready_timeout_s: how long loading may take.
        logs: folder for the server's log; None for one of its own, kept after a failure.
        hidden_states: whether the last hidden states of tokens are wanted, for a reward head.
    """

    slots: int | None = None
    max_context: int | None = None
    threads: int | None = None
    gpu_layers: int | None = None
    cache_mib: int = 1024
    plain_prompt: str = PLAIN_PROMPT
    template: Mapping[str, Any] = field(default_factory=dict[str, Any])
    ready_timeout_s: float = 1800.0
    logs: Path | None = None
    hidden_states: bool = False


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """What `serve.py` is told.

    Attributes:
        context: tokens of one slot.
        poll: how eagerly idle threads look for work, in llama.cpp's measure of 0 (sleep) to 100.
    """

    file: str
    slots: int
    context: int
    threads: int
    gpu_layers: int
    cache_mib: int
    hidden_states: bool = False
    poll: int = 0


def plan(file: GgufFile, options: LlamaCppOptions) -> ServeSettings:
    """Settings for this machine.

    Raises:
        OutOfMemory: the memory that is free holds not even one sequence.
    """
    limit = options.max_context or USUAL_CONTEXT
    limit = min(limit, file.context or limit)  # llama.cpp gives a slot no more either
    context = -(-limit // BLOCK) * BLOCK
    return ServeSettings(
        file=str(file.path),
        slots=_slots(file, context, options.slots),
        context=context,
        threads=options.threads or usable_cores(),
        gpu_layers=-1 if options.gpu_layers is None else options.gpu_layers,
        cache_mib=options.cache_mib,
        hidden_states=options.hidden_states,
    )


def usable_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def free_memory() -> int | None:
    """Bytes that programs can still have; None where the system does not tell."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None


def _slots(file: GgufFile, context: int, wanted: int | None) -> int:
    """As many sequences as are wanted; where none are, as many as fit into memory."""
    if wanted is not None:
        return wanted
    free = free_memory()
    if free is None:
        return MOST_SLOTS
    for_cache = free * SHARE - file.file_bytes
    fitting = int(for_cache // max(file.cache_bytes * context, 1))
    if fitting < 1:
        raise OutOfMemory(
            f"{str(file.path)!r} needs {file.file_bytes / GIB:.1f} GiB and "
            f"{file.cache_bytes * context / GIB:.2f} GiB for a sequence of {context} tokens, but "
            f"{free / GIB:.1f} GiB are free: choose a smaller file, set engine.max_context, or "
            "llamacpp.slots to try it all the same"
        )
    return min(MOST_SLOTS, fitting)
