"""The servers that a configuration's `vllm:` models need: planned, and started when first used."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable
from pathlib import Path

from rsdecode.backends.vllm_server import (
    Fleet,
    Gpu,
    LogWatcher,
    Machine,
    Server,
    ServerPlan,
    ServerSpec,
    Task,
    Watcher,
    arguments,
    environment,
    executable,
    plan,
    read_footprint,
    watch_language_model,
    watch_reward_model,
)
from rsdecode.config.schema import RunConfig
from rsdecode.config.served import served_language_model, served_reward_model
from rsdecode.config.specs import ModelSpec, SpecKind, parse_model_spec, parse_reward_spec
from rsdecode.core.errors import ConfigError, ModelLoadError
from rsdecode.core.protocols import LanguageModel, RewardModel
from rsdecode.core.types import Role
from rsdecode.rewards.detect import (
    SIGNED,
    RewardKind,
    detect_kind,
    kind_by_name,
    parse_kind,
)

GIB = 2**30
RIGHT = ("Qwen2ForCausalLM", "Qwen2ForPrmModel")
"""Qwen 2 models whose own head size is heeded (see `command.AS_LLAMA`, and our plugin)."""
PROMPT_TOKENS = 2048
"""Room for the question, in what a server has to hold for one request."""


class VllmServers:
    """The servers of a run. None is started before the first is needed; then all are.

    Args:
        config: of the run.
        roles: those that the run uses.
        watcher: is told of progress and crashes.
    """

    def __init__(
        self, config: RunConfig, roles: Iterable[Role], watcher: Watcher | None = None
    ) -> None:
        self._config = config
        self._roles = frozenset(roles)
        self._watcher = watcher or LogWatcher()
        self._fleet: Fleet | None = None

    def language_model(self, spec: ModelSpec, role: Role) -> LanguageModel:
        """The language model `spec`, for `role`; closing it stops all servers of the run.

        Raises:
            ConfigError: the servers cannot be placed, or there is no vLLM.
            ModelLoadError: a server cannot be started.
        """
        server = self._server(spec, Task.GENERATE)
        address, model = f"{server.url}#{server.name}", server.plan.spec.model
        inner = served_language_model(address, role, self._config, model, own=True)
        return watch_language_model(inner, server, self.close)

    def reward_model(self, spec: ModelSpec) -> RewardModel:
        """The reward model `spec` (see `language_model`)."""
        server = self._server(spec, _task_of_reward(self._config, spec))
        address, model = f"{server.url}#{server.name}", server.plan.spec.model
        inner = served_reward_model(address, self._config, model, own=True)
        return watch_reward_model(inner, server, self.close)

    def close(self) -> None:
        """Stop all servers; they stop together. Safe to call twice."""
        if self._fleet is not None:
            self._fleet.close()

    def _server(self, spec: ModelSpec, task: Task) -> Server:
        if self._fleet is None:
            settings = self._config.vllm
            fleet = Fleet(
                plan_servers(self._config, self._roles),
                executable(settings.executable),
                self._watcher,
                logs=None if settings.logs is None else Path(os.path.expanduser(settings.logs)),
                ready_timeout_s=settings.ready_timeout_s,
            )
            fleet.start()
            self._fleet = fleet
        return self._fleet.server(served(self._config, self._roles)[spec, task].value)


def served(config: RunConfig, roles: Iterable[Role]) -> dict[tuple[ModelSpec, Task], Role]:
    """The `vllm:` models of these roles, each with the first role that it plays."""
    found: dict[tuple[ModelSpec, Task], Role] = {}
    for role in sorted(roles, key=list(Role).index):
        for spec, task in _models(config, role):
            if spec.kind is SpecKind.VLLM:
                found.setdefault((spec, task), role)
    return found


def _models(config: RunConfig, role: Role) -> list[tuple[ModelSpec, Task]]:
    """The models that play a role themselves; a gate's reward is another role's model."""
    if role is not Role.REWARD:
        text = config.draft if role is Role.DRAFT else config.target
        return [(parse_model_spec(text), Task.GENERATE)]
    return [
        (part.judge, Task.GENERATE)
        if part.kind is SpecKind.JUDGE
        else (part, _task_of_reward(config, part))
        for part in parse_reward_spec(config.reward.spec).parts
    ]


def _task_of_reward(config: RunConfig, spec: ModelSpec) -> Task:
    """Whether a reward model's next tokens are read, or its head: the former have names."""
    named = config.reward.kind
    kind = parse_kind(named) if named else kind_by_name(spec.target)
    return Task.GENERATE if kind in SIGNED else Task.POOL


def plan_servers(
    config: RunConfig, roles: Iterable[Role], machine: Machine | None = None
) -> list[ServerPlan]:
    """Where and how each `vllm:` model of these roles is served.

    Raises:
        ConfigError: they do not fit the machine.
        ModelLoadError: the size of a model cannot be read.
    """
    machine = machine_of(config) if machine is None else machine
    server_specs = [
        _server_spec(config, spec, task, role, on_gpu=bool(machine.gpus))
        for (spec, task), role in served(config, roles).items()
    ]
    return plan(server_specs, machine)


def describe_servers(
    config: RunConfig, roles: Iterable[Role], command: str = "vllm"
) -> dict[Role, dict[str, str]]:
    """The plan in words, by role, with the command lines; nothing is started.

    Raises:
        ConfigError: the servers do not fit the machine.
        ModelLoadError: the size of a model cannot be read.
    """
    roles = frozenset(roles)
    plans = plan_servers(config, roles)
    told: dict[Role, dict[str, str]] = {}
    for (spec, task), first in served(config, roles).items():
        [placed] = [plan for plan in plans if plan.spec.name == first.value]
        facts = placed.describe()
        facts["context"] = f"{placed.spec.max_context} tokens"
        words = [f"{name}={value}" for name, value in environment(placed, os.environ).items()]
        facts["command"] = " ".join([*words, shlex.join([command, *arguments(placed, "PORT")])])
        for role in roles:
            if (spec, task) in served(config, [role]):
                shared = {"server": f"the one of the {first}"} if role is not first else {}
                told[role] = facts | shared
    return told


def machine_of(config: RunConfig) -> Machine:
    """This machine, as far as the configuration does not describe another."""
    here, stated = Machine.here(), config.vllm
    if config.engine.device == "cpu":
        return Machine((), here.cores, here.memory_bytes)
    count = stated.gpus or len(here.gpus)
    if not count:
        return here
    memory = None if stated.gpu_memory_gib is None else int(stated.gpu_memory_gib * GIB)
    if memory is None and not here.gpus:
        raise ConfigError(
            f"vllm.gpus {count}: nvidia-smi lists no GPU here; give vllm.gpu_memory_gib to plan "
            "for another machine"
        )
    gpus = tuple(
        Gpu(
            here.gpus[i].name if i < len(here.gpus) else str(i),
            memory or here.gpus[min(i, len(here.gpus) - 1)].memory_bytes,
        )
        for i in range(count)
    )
    return Machine(gpus, here.cores, here.memory_bytes)


def _server_spec(
    config: RunConfig, spec: ModelSpec, task: Task, role: Role, *, on_gpu: bool
) -> ServerSpec:
    settings = config.vllm.of(role)
    dtype = config.engine.dtype
    if dtype == "int8":
        raise ConfigError(
            f"{role}: --dtype int8 is for hf: models; for {spec} use --dtype bfloat16, or give a "
            "checkpoint that is quantised already, which vLLM reads as it is"
        )
    if dtype == "auto" and not on_gpu:
        dtype = "float32"  # as in the in-process engine
    model = os.path.expanduser(spec.target)
    try:
        footprint = read_footprint(model, dtype)
    except ModelLoadError as error:
        raise ModelLoadError(f"{role}: {error}") from error
    architecture = footprint.architecture
    if footprint.own_head_size and architecture.startswith("Qwen2") and architecture not in RIGHT:
        raise ConfigError(
            f"{role}: vLLM would read {model!r} wrongly: its {architecture} takes the head size "
            "for hidden size over heads, whatever head_dim says; load it in this process with "
            f"hf:{model}"
        )
    longest = config.limits.max_tokens + PROMPT_TOKENS
    context = settings.max_model_len or config.engine.max_context or longest
    if context > footprint.max_context and settings.max_model_len:
        raise ConfigError(
            f"vllm.{role}.max_model_len {context}: {spec} was made for {footprint.max_context} "
            "tokens; choose at most so many"
        )
    kind = _served_kind(config, model, architecture) if task is Task.POOL else None
    return ServerSpec(
        name=role.value,
        model=model,
        footprint=footprint,
        task=task,
        max_context=min(context, footprint.max_context),
        slots=config.engine.slots,
        dtype=dtype,
        tensor_parallel=settings.tensor_parallel,
        gpus=settings.gpus,
        memory=settings.memory,
        step_tag=_step_tag(model, config.reward.mark) if kind is RewardKind.QWEN_PRM else None,
        continues=kind is not None and kind is not RewardKind.OUTCOME,
        arguments=settings.arguments,
    )


def _served_kind(config: RunConfig, model: str, architecture: str) -> RewardKind:
    """The kind of a reward model that vLLM is to serve.

    Raises:
        ConfigError: vLLM cannot serve this kind.
        ModelLoadError: the kind cannot be told.
    """
    named = config.reward.kind
    kind = parse_kind(named) if named else detect_kind(model, [architecture], lambda: False)
    if kind is RewardKind.REWARD_HEAD:
        raise ConfigError(
            f"reward: the head of a {kind} reward model is no part of vLLM: load it here with "
            f"hf:{model}"
        )
    return kind


def _step_tag(model: str, mark: str | None) -> int:
    """The id of Qwen's step mark: vLLM knows only that of Qwen's own models.

    Raises:
        ModelLoadError: there is no such token.
    """
    from rsdecode.rewards.settings import QWEN_MARK
    from rsdecode.text.pretrained import load_tokenizer
    from rsdecode.text.vocabulary import Vocabulary

    return Vocabulary(load_tokenizer(model)).token(mark or QWEN_MARK)
