"""GGUF files of a configuration, as models on llama.cpp."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from rsdecode.backends.llama_cpp import LlamaCppOptions, load_llama_cpp
from rsdecode.backends.vllm_server import Watcher
from rsdecode.config.schema import RunConfig
from rsdecode.config.served import reward_settings
from rsdecode.core.errors import ConfigError
from rsdecode.core.protocols import LanguageModel, RewardModel


def language_model(
    file: Path, config: RunConfig, uses: int = 1, watcher: Watcher | None = None
) -> LanguageModel:
    """The model of a file.

    Args:
        file: that it is in.
        config: of the run.
        uses: roles that it plays; each has a slot of its own for every problem.
        watcher: is told what happens to its process.

    Raises:
        ConfigError: llama.cpp is not installed.
        ModelLoadError: the file cannot be read, or llama.cpp does not take it.
        OutOfMemory: there is no memory for it.
    """
    return load_llama_cpp(file, options_of(config, uses), watcher)


def reward_model(file: Path, config: RunConfig, watcher: Watcher | None = None) -> RewardModel:
    """The reward model whose network a file is (see `rewards.gguf`).

    Args:
        file: that the network is in.
        config: of the run; `reward.tokenizer` is where tokenizer, config.json and head are.
        watcher: is told what happens to its process.

    Raises:
        ConfigError: llama.cpp is not installed, or a setting has no effect.
        ModelLoadError: something is missing, or does not fit the file.
        OutOfMemory: there is no memory for it.
    """
    from rsdecode.rewards.gguf import load_gguf_reward

    if config.llamacpp.dequantise:
        raise ConfigError(
            f"gguf:{file} is a reward model, which the engine does not read from GGUF: leave "
            "llamacpp.dequantise (--dequantise) out, or give the checkpoint itself (hf:FOLDER)"
        )
    place, reward = config.reward.tokenizer, config.reward
    return load_gguf_reward(
        file,
        options_of(config),
        place=None if place is None else os.path.expanduser(place),
        kind=reward.kind,
        settings=reward_settings(config),
        watcher=watcher,
    )


def options_of(config: RunConfig, uses: int = 1) -> LlamaCppOptions:
    """How the configuration wants files to be served."""
    settings, engine = config.llamacpp, config.engine
    options = LlamaCppOptions(
        slots=None if settings.slots is None else settings.slots * uses,
        max_context=engine.max_context,
        threads=settings.threads or engine.threads,
        gpu_layers=0 if engine.device == "cpu" else settings.gpu_layers,
        cache_mib=settings.cache_mib,
        template=config.template_arguments,
        ready_timeout_s=settings.ready_timeout_s,
        logs=None if settings.logs is None else Path(os.path.expanduser(settings.logs)),
    )
    if config.prompt.plain is None:
        return options
    return dataclasses.replace(options, plain_prompt=config.prompt.plain)
