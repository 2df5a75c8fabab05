"""Puts models on GPUs, and says which share of each GPU's memory a vLLM process may take.

A process takes its weights, `OVERHEAD_BYTES` for activations and libraries, and what it is left for
keys and values. What all processes on a GPU leave of `USABLE` of it is divided among them in
proportion to the keys and values that their requests may need, so all run out of room at the same
number of requests. vLLM takes one share for all GPUs of a process: the smallest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from rsdecode.backends.vllm_server.footprint import Footprint
from rsdecode.backends.vllm_server.machine import Gpu, Machine
from rsdecode.core.errors import ConfigError

GIB = 2**30
USABLE = 0.92
OVERHEAD_BYTES = 3 * GIB
WEIGHTS_AT_MOST = 0.6
"""The share of a GPU that weights may take before a model is spread over more GPUs by itself."""
CPU_SHARE = 0.25
"""The share of the machine's memory that all servers' keys and values may take together."""


class Task(StrEnum):
    """What a server is asked for."""

    GENERATE = "generate"
    POOL = "pool"


@dataclass(frozen=True, slots=True)
class ServerSpec:
    """A model that is to be served.

    Attributes:
        name: the role or roles it plays; also the name it is served under.
        max_context: tokens of one request.
        slots: requests that it serves at once.
        tensor_parallel: GPUs to spread it over; None for as few as hold its weights well.
        gpus: places among the machine's GPUs; None for those with most room.
        memory: share of each GPU's memory; None to have it computed. On processors, the share of
            the machine's memory that is for keys and values.
        step_tag: id of the step mark whose rows a pooling model returns; None for all rows.
        continues: whether a pooling model may continue a prefix that it has read before, and then
            returns rows for the new tokens alone.
        arguments: more of vLLM's.
    """

    name: str
    model: str
    footprint: Footprint
    task: Task = Task.GENERATE
    max_context: int = 4096
    slots: int = 32
    dtype: str = "auto"
    tensor_parallel: int | None = None
    gpus: tuple[int, ...] | None = None
    memory: float | None = None
    step_tag: int | None = None
    continues: bool = False
    arguments: tuple[str, ...] = ()

    @property
    def kv_bytes(self) -> int:
        """Keys and values of one request of the full length."""
        return self.footprint.kv_bytes_per_token * self.max_context


@dataclass(frozen=True, slots=True)
class ServerPlan:
    """Where and how a model is served.

    Attributes:
        gpus: none for a server on the processors.
        memory: share of each GPU's memory that the process may take.
        kv_bytes: room for keys and values, on all of its GPUs together.
        threads: of a server on the processors.
    """

    wish: ServerSpec
    gpus: tuple[Gpu, ...] = ()
    memory: float = 0.0
    kv_bytes: int = 0
    threads: int = 0

    @property
    def places(self) -> frozenset[str]:
        """What it shares with other servers that have one of these too."""
        return frozenset(gpu.name for gpu in self.gpus) or frozenset({"cpu"})

    def describe(self) -> dict[str, str]:
        """What `rsd doctor` prints."""
        count = len(self.gpus)
        where = "processors" if not count else f"GPU {', '.join(gpu.name for gpu in self.gpus)}"
        facts = {"runs on": f"{where} ({self.threads} threads)" if not count else where}
        if count > 1:
            facts["tensor parallel"] = str(count)
        if count:
            size = self.memory * self.gpus[0].memory_bytes
            each = " of each GPU" if count > 1 else ""
            facts["memory"] = f"{self.memory:.3f}{each} ({size / GIB:.1f} GiB)"
        requests = self.kv_bytes / max(self.wish.kv_bytes, 1)
        facts["weights"] = f"{self.wish.footprint.weight_bytes / GIB:.2f} GiB"
        facts["keys and values"] = (
            f"{self.kv_bytes / GIB:.2f} GiB: {requests:.1f} requests of "
            f"{self.wish.max_context} tokens"
        )
        return facts


def plan(wishes: Sequence[ServerSpec], machine: Machine) -> list[ServerPlan]:
    """Place each model; plans in the order of the wishes.

    Raises:
        ConfigError: something does not fit, or a setting contradicts the machine.
    """
    if not machine.gpus:
        return _on_processors(wishes, machine)
    places: dict[str, tuple[int, ...]] = {}
    taken = [0.0] * len(machine.gpus)
    ordered = sorted(wishes, key=lambda w: (w.gpus is None, -w.footprint.weight_bytes))
    for wish in ordered:
        chosen = places[wish.name] = _choose(wish, machine, taken)
        for index in chosen:
            taken[index] += _base(wish, len(chosen))
    shares = {wish.name: wish.memory or 1.0 for wish in wishes}
    for index, gpu in enumerate(machine.gpus):
        here = [wish for wish in wishes if index in places[wish.name]]
        for name, share in _divide(here, gpu, {w.name: len(places[w.name]) for w in here}).items():
            shares[name] = min(shares[name], share)
    return [
        _with_room(ServerPlan(w, tuple(machine.gpus[i] for i in places[w.name]), shares[w.name]))
        for w in wishes
    ]


def _choose(wish: ServerSpec, machine: Machine, taken: Sequence[float]) -> tuple[int, ...]:
    """The GPUs for a model: those asked for, or those with most room."""
    count = len(machine.gpus)
    if wish.gpus is not None:
        if absent := [index for index in wish.gpus if not 0 <= index < count]:
            raise ConfigError(f"{wish.name}: there is no GPU {absent[0]}: this machine has {count}")
        if wish.tensor_parallel not in (None, len(wish.gpus)):
            raise ConfigError(
                f"{wish.name}: tensor_parallel {wish.tensor_parallel} does not fit its "
                f"{len(wish.gpus)} GPUs {list(wish.gpus)}: leave one of the two out"
            )
        chosen = wish.gpus
    else:
        shards = wish.tensor_parallel or _shards(wish, machine)
        if shards > count:
            raise ConfigError(
                f"{wish.name}: tensor_parallel {shards} needs {shards} GPUs: this machine has "
                f"{count}"
            )
        room = sorted(range(count), key=lambda i: (taken[i] - machine.gpus[i].memory_bytes, i))
        chosen = tuple(sorted(room[:shards]))
    if wish.footprint.heads % len(chosen):
        raise ConfigError(
            f"{wish.name}: {wish.model} has {wish.footprint.heads} attention heads, which "
            f"{len(chosen)} GPUs cannot share evenly: choose another tensor_parallel"
        )
    return chosen


def _shards(wish: ServerSpec, machine: Machine) -> int:
    """The smallest power of two of GPUs that hold the weights well, if there are so many."""
    room = WEIGHTS_AT_MOST * min(gpu.memory_bytes for gpu in machine.gpus)
    shards = 1
    while (
        wish.footprint.weight_bytes / shards > room
        and 2 * shards <= len(machine.gpus)
        and wish.footprint.heads % (2 * shards) == 0
    ):
        shards *= 2
    return shards


def _base(wish: ServerSpec, shards: int) -> float:
    """What a process takes of a GPU besides keys and values."""
    return wish.footprint.weight_bytes / shards + OVERHEAD_BYTES


def _divide(wishes: Sequence[ServerSpec], gpu: Gpu, shards: dict[str, int]) -> dict[str, float]:
    """The share of one GPU for each model on it that has none yet."""
    free = [wish for wish in wishes if wish.memory is None]
    if not free:
        return {}
    fixed = sum(wish.memory or 0.0 for wish in wishes)
    bases = {wish.name: _base(wish, shards[wish.name]) for wish in free}
    needs = {wish.name: wish.kv_bytes / shards[wish.name] for wish in free}
    left = (USABLE - fixed) * gpu.memory_bytes - sum(bases.values())
    if left < sum(needs.values()):
        needed = (sum(bases.values()) + sum(needs.values())) / GIB
        raise ConfigError(
            f"{' and '.join(bases)} do not fit on GPU {gpu.name}: they need {needed:.1f} GiB with "
            f"room for one request each, and {(USABLE - fixed) * gpu.memory_bytes / GIB:.1f} GiB "
            "of it can be used: give them other GPUs, a smaller max_model_len or a larger "
            "tensor_parallel"
        )
    wanted = {wish.name: needs[wish.name] * wish.slots for wish in free}
    total = sum(wanted.values())
    return {
        name: math.floor(1000 * (bases[name] + left * wanted[name] / total) / gpu.memory_bytes)
        / 1000
        for name in wanted
    }


def _with_room(placed: ServerPlan) -> ServerPlan:
    """The plan with what its share leaves for keys and values."""
    smallest = min(gpu.memory_bytes for gpu in placed.gpus)
    room = placed.memory * smallest - _base(placed.wish, len(placed.gpus))
    if room * len(placed.gpus) < placed.wish.kv_bytes:
        raise ConfigError(
            f"{placed.wish.name}: {placed.memory:.3f} of the memory of GPU {placed.gpus[0].name} "
            f"leaves no room for a request of {placed.wish.max_context} tokens: give it more "
            "memory or a smaller max_model_len"
        )
    return replace(placed, kv_bytes=int(room) * len(placed.gpus))


def _on_processors(wishes: Sequence[ServerSpec], machine: Machine) -> list[ServerPlan]:
    """Servers share the cores evenly; each has room for its requests within `CPU_SHARE`."""
    for wish in wishes:
        if wish.gpus or (wish.tensor_parallel or 1) > 1:
            raise ConfigError(
                f"{wish.name}: its GPUs {list(wish.gpus or ())} or tensor_parallel "
                f"{wish.tensor_parallel} need GPUs, and this machine has none: leave them out"
            )
    most = max(1, int(CPU_SHARE * machine.memory_bytes / len(wishes) / GIB)) if wishes else 1
    threads = max(1, machine.cores // max(1, len(wishes)))
    plans: list[ServerPlan] = []
    for wish in wishes:
        whole = min(most, math.ceil(wish.kv_bytes * wish.slots / GIB))
        if wish.memory is not None:
            whole = int(wish.memory * machine.memory_bytes / GIB)
        plans.append(ServerPlan(wish, kv_bytes=max(1, whole) * GIB, threads=threads))
    return plans
