"""Loads and tries each role of a configuration: the findings behind `rsd doctor`."""

from __future__ import annotations

import asyncio
import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any

from rsdecode import __version__
from rsdecode.cli.runtime import loading
from rsdecode.cli.trials import Tried, try_reward, try_reward_of_draft, try_writer
from rsdecode.config import RunConfig, config_hash
from rsdecode.config.build import ModelBuilder, build_method
from rsdecode.config.specs import ModelSpec, SpecKind, parse_model_spec, parse_reward_spec
from rsdecode.config.warnings import warnings_of
from rsdecode.core.counted import counted
from rsdecode.core.errors import RsdError
from rsdecode.core.protocols import LanguageModel, Noted, ReadsDraft, RewardModel, Sized
from rsdecode.core.types import Role

ROOM_FOR_QUESTION = 256
"""Tokens that a question may need beside an answer of the greatest length."""
PACKAGES = ("torch", "transformers", "tokenizers", "safetensors", "gguf", "xllamacpp")


@dataclass(slots=True)
class Findings:
    """What an examination has found.

    Attributes:
        roles: facts by role.
        failures: what would fail, one line each, with the remedy.
    """

    method: str
    config_hash: str
    environment: dict[str, str]
    roles: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]])
    warnings: list[str] = field(default_factory=list[str])
    failures: list[str] = field(default_factory=list[str])

    @property
    def same_vocabulary(self) -> bool | None:
        """Whether draft and target exchange token ids; None where that is not known."""
        sides = [self.roles.get(role, {}).get("vocabulary") for role in ("draft", "target")]
        return None if None in sides else sides[0] == sides[1]

    def as_record(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "ok": not self.failures,
            "method": self.method,
            "config_hash": self.config_hash,
            "environment": self.environment,
            "roles": self.roles,
            "same_vocabulary": self.same_vocabulary,
            "warnings": self.warnings,
            "failures": self.failures,
        }


def examine(config: RunConfig) -> Findings:
    """Load and try each role that the method needs; a failed one does not stop the others."""
    findings = Findings(config.method, config_hash(config), environment())
    findings.warnings += warnings_of(config)
    builder = ModelBuilder(config)
    try:
        roles = build_method(config).roles
    except RsdError as error:
        findings.failures.append(str(error))
        roles = frozenset(Role)
    planned = _plan_servers(roles, config, findings)
    try:
        for role in sorted(roles, key=list(Role).index):
            if role not in planned:
                _examine_role(role, config, builder, findings)
    finally:
        builder.close()
    _compare(config, findings)
    return findings


def environment() -> dict[str, str]:
    """Python, libraries, device and memory."""
    facts = {"rsdecode": __version__}
    facts["python"] = f"{platform.python_version()} on {platform.platform(terse=True)}"
    for package in PACKAGES:
        try:
            facts[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            facts[package] = "not installed"
    facts["cpu"] = counted(os.cpu_count() or 1, "core")
    facts["memory"] = _memory()
    facts["cuda"] = _cuda()
    return facts


def _plan_servers(roles: Iterable[Role], config: RunConfig, findings: Findings) -> set[Role]:
    """What is planned for the roles that vLLM servers play, which are not started; these roles."""
    specs = {role: _spec_of(role, config) for role in sorted(roles, key=list(Role).index)}
    roles = {role for role in specs if _served_by_us(role, config)}
    if not roles:
        return set()
    from rsdecode.backends.vllm_server import executable
    from rsdecode.config.vllm import describe_servers

    command = "vllm"
    try:
        command = executable(config.vllm.executable)
    except RsdError as error:
        findings.failures.append(str(error))
    for role in sorted(roles, key=list(Role).index):
        findings.roles[role.value] = {"spec": str(specs[role]), "kind": specs[role].kind.value}
    try:
        for role, facts in describe_servers(config, roles, command).items():
            findings.roles[role.value].update(facts)
    except RsdError as error:
        findings.failures.append(str(error))
    return roles


def _served_by_us(role: Role, config: RunConfig) -> bool:
    """Whether a vLLM server of ours plays a role, or gives its reward."""
    spec = _spec_of(role, config)
    if role is not Role.REWARD:
        return spec.kind is SpecKind.VLLM
    models = [part.judge if part.kind is SpecKind.JUDGE else part for part in spec.parts]
    read = any(_served_by_us(other, config) for other in spec.reads)
    return read or any(model.kind is SpecKind.VLLM for model in models)


def _examine_role(role: Role, config: RunConfig, builder: ModelBuilder, findings: Findings) -> None:
    spec = _spec_of(role, config)
    facts = findings.roles[role.value] = {"spec": str(spec), "kind": spec.kind.value}
    try:
        with loading(config):
            model = builder.reward() if role is Role.REWARD else builder.writer(role)
        facts.update(_describe(model))
        if spec.kind is SpecKind.JUDGE and str(spec.judge) in (config.draft, config.target):
            facts["weights"] = f"shared with {spec.judge}"
        if spec.kind is not SpecKind.SCRIPTED:  # a script only knows its own questions
            draft = builder.writer(Role.DRAFT) if _reads_draft(model) else None
            tried = asyncio.run(_try(role, model, config, draft))
            facts.update(tried.facts)
            findings.warnings += [f"{role}: {text}" for text in tried.warnings]
            findings.failures += [f"{role}: {text}" for text in tried.failures]
        if isinstance(model, Noted):  # complete once requests were served
            findings.warnings += [f"{role}: {note}" for note in model.notes]
    except RsdError as error:
        text = str(error)
        findings.failures.append(text if text.startswith(f"{role}:") else f"{role}: {text}")
    except Exception as error:  # noqa: BLE001 - whatever it is, the other roles are still examined
        findings.failures.append(f"{role}: {spec}: {type(error).__name__}: {error}")


def _spec_of(role: Role, config: RunConfig) -> ModelSpec:
    if role is Role.REWARD:
        return parse_reward_spec(config.reward.spec)
    return parse_model_spec(config.draft if role is Role.DRAFT else config.target)


def _describe(model: LanguageModel | RewardModel) -> dict[str, str]:
    """What the model says about itself, or at least its size."""
    describe = getattr(model, "describe", None)
    if callable(describe):
        told: Any = describe()
        return {str(name): str(value) for name, value in told.items()}
    facts = {"model": type(model).__name__}
    if isinstance(model, Sized) and model.shape is not None:
        facts["parameters"] = f"{model.shape.parameters:,}"
    return facts


def _reads_draft(model: LanguageModel | RewardModel) -> bool:
    """Whether it scores nothing but steps that the draft wrote."""
    return isinstance(model, ReadsDraft) and model.reads_draft


async def _try(
    role: Role,
    model: LanguageModel | RewardModel,
    config: RunConfig,
    draft: LanguageModel | None,
) -> Tried:
    """Small requests (see `cli.trials`).

    Raises:
        RsdError: not even the first is served.
    """
    if isinstance(model, RewardModel):
        if draft is not None:
            return await try_reward_of_draft(model, draft, config)
        return await try_reward(model)
    return await try_writer(role, model, config)


def _compare(config: RunConfig, findings: Findings) -> None:
    """Limits that a model's context cannot hold, and thoughts that the models mark differently."""
    marks = {
        role: next((c for c in config.answer.marks.closings() if c in facts["thoughts"]), "")
        for role, facts in findings.roles.items()
        if "thoughts" in facts
    }
    if len(set(filter(None, marks.values()))) > 1:
        listed = ", ".join(f"{mark} by the {role}" for role, mark in marks.items())
        findings.warnings.append(
            f"thoughts are closed with {listed}: neither model understands the other's thoughts; "
            "take models of one family, or switch thoughts off (--thinking off)"
        )
    stated = {role: facts.get("context", "").split() for role, facts in findings.roles.items()}
    contexts = {r: int(words[0]) for r, words in stated.items() if words and words[0].isdecimal()}
    longest = config.limits.max_tokens
    short = {role: size for role, size in contexts.items() if size < longest + ROOM_FOR_QUESTION}
    if short:
        listed = ", ".join(f"{role} ({size})" for role, size in short.items())
        fitting = max(1, min(short.values()) - ROOM_FOR_QUESTION)
        findings.warnings.append(
            f"a question and an answer of --max-tokens {longest} do not fit the context of "
            f"{listed}: longer answers end with `length`; set --max-tokens {fitting} "
            "(limits.max_tokens) or less, or take a model with a longer context"
        )


def _memory() -> str:
    try:
        size = os.sysconf("SC_PAGE_SIZE") / 2**30
        total, free = os.sysconf("SC_PHYS_PAGES") * size, os.sysconf("SC_AVPHYS_PAGES") * size
    except (ValueError, OSError, AttributeError):
        return "unknown"
    return f"{total:.1f} GiB, {free:.1f} GiB free"


def _cuda() -> str:
    try:
        import torch
    except ImportError:
        return "unknown without torch: pip install 'rsdecode[local]'"
    if not torch.cuda.is_available():
        return "none"
    count = torch.cuda.device_count()
    return ", ".join(torch.cuda.get_device_name(index) for index in range(count))
