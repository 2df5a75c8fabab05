"""What needs no model to be told: folders, files, functions and settings that are missing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import cast

from rsdecode.config.schema import RunConfig
from rsdecode.config.specs import ModelSpec, SpecKind, parse_reward_spec
from rsdecode.core.errors import ConfigError, ModelLoadError


def check_threads(config: RunConfig) -> None:
    """Check that this machine has the cores for the threads that are asked for.

    Raises:
        ConfigError: it has fewer.
    """
    cores = os.cpu_count() or 1
    settings = {
        "--threads (engine.threads)": config.engine.threads,
        "llamacpp.threads": config.llamacpp.threads,
    }
    for name, wanted in settings.items():
        if wanted is not None and wanted > cores:
            raise ConfigError(
                f"{name} {wanted} is more than the cores of this machine: set {cores} or fewer, or "
                "leave it out"
            )


def check_model(spec: ModelSpec) -> None:
    """Check that a model's files, or its function, are there if they must be on this machine.

    Raises:
        ConfigError: they are not.
        ModelLoadError: the family's weights are missing.
    """
    if spec.kind is SpecKind.GGUF:
        gguf_file(spec)
    elif spec.kind in (SpecKind.ABACUS, SpecKind.HF):
        model_place(spec)
    elif spec.kind is SpecKind.PYTHON:
        from rsdecode.rewards.function import FunctionReward

        FunctionReward(spec.target)


def check_reward(config: RunConfig) -> None:
    """Check the reward, and the gate of thoughts, as far as it takes no model.

    Raises:
        ConfigError: a cascade has no bounds, a function or file is missing, or a calibration was
            made for another reward.
        ModelLoadError: the family's weights are missing.
    """
    gate = config.thinking.gate
    for spec in map(parse_reward_spec, filter(None, (config.reward.spec, gate))):
        if spec.kind is SpecKind.CASCADE and config.reward.bounds is None:
            raise ConfigError(
                f"{spec} needs its bounds: --reward-bounds LOW,HIGH (reward.bounds); between them "
                f"{spec.parts[1]} decides"
            )
        for part in spec.leaves:
            check_model(part)
    if config.reward.calibration is not None:
        from rsdecode.rewards.calibrated import read_calibration

        read_calibration(config.reward.calibration, config.reward.spec)


def model_place(spec: ModelSpec) -> str:
    """What the loaders take: a folder, or an id of the Hugging Face hub.

    Raises:
        ConfigError: the spec means a folder that is not there.
        ModelLoadError: the family's weights are missing.
    """
    if spec.kind is SpecKind.ABACUS:
        return _abacus_folder(spec)
    path = Path(os.path.expanduser(spec.target))
    looks_local = spec.target.startswith((".", "/", "~")) or spec.target.count("/") != 1
    if path.exists() or (looks_local and "/" in spec.target):
        return str(_existing(spec, path))
    return spec.target


def gguf_file(spec: ModelSpec) -> Path:
    """The file of a `gguf:` spec.

    Raises:
        ConfigError: there is none.
    """
    return _existing(spec, Path(os.path.expanduser(spec.target)))


def _abacus_folder(spec: ModelSpec) -> str:
    from rsdecode.models.abacus import ModelName, model_path

    try:
        return str(model_path(cast("ModelName", spec.target)))
    except FileNotFoundError as error:
        raise ModelLoadError(str(error)) from error


def _existing(spec: ModelSpec, path: Path) -> Path:
    wanted = "file" if spec.kind is SpecKind.GGUF else "folder"
    if not path.exists():
        raise ConfigError(f"{spec}: there is no such {wanted}")
    if path.is_dir() != (wanted == "folder"):
        raise ConfigError(f"{spec} is not a {wanted}")
    return path
