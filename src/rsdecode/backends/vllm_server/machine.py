"""What this machine has: GPUs as nvidia-smi lists them, else processors."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass, field

MIB = 2**20


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU.

    Attributes:
        name: what CUDA_VISIBLE_DEVICES calls it: an index or a UUID.
    """

    name: str
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class Machine:
    """What servers are placed on; without GPUs they run on the processors."""

    gpus: tuple[Gpu, ...] = ()
    cores: int = field(default_factory=lambda: os.cpu_count() or 1)
    memory_bytes: int = 0

    @classmethod
    def here(cls) -> Machine:
        """This one, as far as CUDA_VISIBLE_DEVICES shows it."""
        return cls(visible_gpus(os.environ.get("CUDA_VISIBLE_DEVICES")), _cores(), _memory())


def visible_gpus(visible: str | None) -> tuple[Gpu, ...]:
    """The GPUs that a process with this CUDA_VISIBLE_DEVICES sees, in its order."""
    query = ["nvidia-smi", "--query-gpu=index,uuid,memory.total", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return ()
    found: dict[str, Gpu] = {}
    uuids: dict[str, Gpu] = {}
    for line in done.stdout.splitlines():
        index, uuid, memory = (part.strip() for part in line.split(","))
        if memory.isdecimal():  # "[N/A]" where GPU and processor share their memory
            found[index] = uuids[uuid] = Gpu(index, int(memory) * MIB)
    if visible is None:
        return tuple(found.values())
    named = (found | uuids).get
    wanted = (named(name.strip()) for name in visible.split(","))
    return tuple(gpu for gpu in wanted if gpu is not None)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return 0
