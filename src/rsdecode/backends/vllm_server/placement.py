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

    spec: ServerSpec
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
        requests = self.kv_bytes / max(self.spec.kv_bytes, 1)
        facts["weights"] = f"{self.spec.footprint.weight_bytes / GIB:.2f} GiB"
        facts["keys and values"] = (
            f"{self.kv_bytes / GIB:.2f} GiB: {requests:.1f} requests of "
            f"{self.spec.max_context} tokens"
        )
        return facts


def plan(specs: Sequence[ServerSpec], machine: Machine) -> list[ServerPlan]:
    """Place each model; plans in the order of the specs.

    Raises:
        ConfigError: something does not fit, or a setting contradicts the machine.
    """
    if not machine.gpus:
        return _on_processors(specs, machine)
    places: dict[str, tuple[int, ...]] = {}
    taken = [0.0] * len(machine.gpus)
    ordered = sorted(specs, key=lambda w: (w.gpus is None, -w.footprint.weight_bytes))
    for spec in ordered:
        chosen = places[spec.name] = _choose(spec, machine, taken)
        for index in chosen:
            taken[index] += _base(spec, len(chosen))
    shares = {spec.name: spec.memory or 1.0 for spec in specs}
    for index, gpu in enumerate(machine.gpus):
        here = [spec for spec in specs if index in places[spec.name]]
        for name, share in _divide(here, gpu, {w.name: len(places[w.name]) for w in here}).items():
            shares[name] = min(shares[name], share)
    return [
        _with_room(ServerPlan(w, tuple(machine.gpus[i] for i in places[w.name]), shares[w.name]))
        for w in specs
    ]


def _choose(spec: ServerSpec, machine: Machine, taken: Sequence[float]) -> tuple[int, ...]:
    """The GPUs for a model: those asked for, or those with most room."""
    count = len(machine.gpus)
    if spec.gpus is not None:
        if absent := [index for index in spec.gpus if not 0 <= index < count]:
            raise ConfigError(f"{spec.name}: there is no GPU {absent[0]}: this machine has {count}")
        if spec.tensor_parallel not in (None, len(spec.gpus)):
            raise ConfigError(
                f"{spec.name}: tensor_parallel {spec.tensor_parallel} does not fit its "
                f"{len(spec.gpus)} GPUs {list(spec.gpus)}: leave one of the two out"
            )
        chosen = spec.gpus
    else:
        shards = spec.tensor_parallel or _shards(spec, machine)
        if shards > count:
            raise ConfigError(
                f"{spec.name}: tensor_parallel {shards} needs {shards} GPUs: this machine has "
                f"{count}"
            )
        room = sorted(range(count), key=lambda i: (taken[i] - machine.gpus[i].memory_bytes, i))
        chosen = tuple(sorted(room[:shards]))
    if spec.footprint.heads % len(chosen):
        raise ConfigError(
            f"{spec.name}: {spec.model} has {spec.footprint.heads} attention heads, which "
            f"{len(chosen)} GPUs cannot share evenly: choose another tensor_parallel"
        )
    return chosen


def _shards(spec: ServerSpec, machine: Machine) -> int:
    """The smallest power of two of GPUs that hold the weights well, if there are so many."""
    room = WEIGHTS_AT_MOST * min(gpu.memory_bytes for gpu in machine.gpus)
    shards = 1
    while (
        spec.footprint.weight_bytes / shards > room
        and 2 * shards <= len(machine.gpus)
        and spec.footprint.heads % (2 * shards) == 0
    ):
        shards *= 2
    return shards


def _base(spec: ServerSpec, shards: int) -> float:
    """What a process takes of a GPU besides keys and values."""
    return spec.footprint.weight_bytes / shards + OVERHEAD_BYTES


def _divide(specs: Sequence[ServerSpec], gpu: Gpu, shards: dict[str, int]) -> dict[str, float]:
    """The share of one GPU for each model on it that has none yet."""
    free = [spec for spec in specs if spec.memory is None]
    if not free:
        return {}
    fixed = sum(spec.memory or 0.0 for spec in specs)
    bases = {spec.name: _base(spec, shards[spec.name]) for spec in free}
    needs = {spec.name: spec.kv_bytes / shards[spec.name] for spec in free}
    left = (USABLE - fixed) * gpu.memory_bytes - sum(bases.values())
    if left < sum(needs.values()):
        needed = (sum(bases.values()) + sum(needs.values())) / GIB
        raise ConfigError(
            f"{' and '.join(bases)} do not fit on GPU {gpu.name}: they need {needed:.1f} GiB with "
            f"room for one request each, and {(USABLE - fixed) * gpu.memory_bytes / GIB:.1f} GiB "
            "of it can be used: give them other GPUs, a smaller max_model_len or a larger "
            "tensor_parallel"
        )
    wanted = {spec.name: needs[spec.name] * spec.slots for spec in free}
    total = sum(wanted.values())
    return {
        name: math.floor(1000 * (bases[name] + left * wanted[name] / total) / gpu.memory_bytes)
        / 1000
        for name in wanted
    }


def _with_room(placed: ServerPlan) -> ServerPlan:
    """The plan with what its share leaves for keys and values."""
    smallest = min(gpu.memory_bytes for gpu in placed.gpus)
    room = placed.memory * smallest - _base(placed.spec, len(placed.gpus))
    if room * len(placed.gpus) < placed.spec.kv_bytes:
        raise ConfigError(
            f"{placed.spec.name}: {placed.memory:.3f} of the memory of GPU {placed.gpus[0].name} "
            f"leaves no room for a request of {placed.spec.max_context} tokens: give it more "
            "memory or a smaller max_model_len"
        )
    return replace(placed, kv_bytes=int(room) * len(placed.gpus))


def _on_processors(specs: Sequence[ServerSpec], machine: Machine) -> list[ServerPlan]:
    """Servers share the cores evenly; each has room for its requests within `CPU_SHARE`."""
    for spec in specs:
        if spec.gpus or (spec.tensor_parallel or 1) > 1:
            raise ConfigError(
                f"{spec.name}: its GPUs {list(spec.gpus or ())} or tensor_parallel "
                f"{spec.tensor_parallel} need GPUs, and this machine has none: leave them out"
            )
    most = max(1, int(CPU_SHARE * machine.memory_bytes / len(specs) / GIB)) if specs else 1
    threads = max(1, machine.cores // max(1, len(specs)))
    plans: list[ServerPlan] = []
    for spec in specs:
        whole = min(most, math.ceil(spec.kv_bytes * spec.slots / GIB))
        if spec.memory is not None:
            whole = int(spec.memory * machine.memory_bytes / GIB)
        plans.append(ServerPlan(spec, kv_bytes=max(1, whole) * GIB, threads=threads))
    return plans
