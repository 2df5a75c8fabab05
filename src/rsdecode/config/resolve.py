"""The resolved configuration, saved with results, and its hash."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pydantic import ValidationError

from rsdecode.config.method_names import MethodName
from rsdecode.config.schema import WEIGHTING_PARAMETERS, RunConfig
from rsdecode.config.thinking import ThinkingConfig
from rsdecode.core.errors import ConfigError
from rsdecode.core.types import Role
from rsdecode.methods.answers import SAMPLED
from rsdecode.methods.fallback import GUESS_TOKENS

DEFAULT_ALPHA = 10.0


def settled(config: RunConfig) -> RunConfig:
    """What the configuration means once its method's name is read.

    What an `rsd` name says (`rsd@0.5`, `rsd:budget=0.2`) takes the place of the keys that it is
    about, and the method is plain `rsd`. Any other name is spelled out with its defaults. A method
    that samples the draft several times gets temperature 0.7 where the draft is greedy, and gsi
    so for its target.

    Raises:
        ConfigError: the name contradicts other settings.
    """
    name = config.method_name
    settings: dict[str, Any] = config.model_dump(exclude_unset=True)
    settings["method"] = str(name)
    if name.kind == "rsd":
        spell_out(settings, name)
    if name.samples and not config.sampling.draft.temperature:
        sampling = settings.setdefault("sampling", {})
        sampling.setdefault("draft", {})["temperature"] = SAMPLED.temperature
    if name.kind == "gsi" and not config.sampling.target.temperature:
        sampling = settings.setdefault("sampling", {})
        sampling.setdefault("target", {})["temperature"] = SAMPLED.temperature
    try:
        return RunConfig.model_validate(settings)
    except ValidationError as error:
        reasons = [detail["msg"].removeprefix("Value error, ") for detail in error.errors()]
        raise ConfigError(f"method {config.method!r}: {'; '.join(reasons)}") from None


def spell_out(settings: dict[str, Any], name: MethodName) -> None:
    """Put what an `rsd` name says in the place of the keys that it is about."""
    options: dict[str, Any] = dict(name.options)
    if name.number is not None:
        options["threshold"] = name.number
    _set_weighting(settings, options)
    settings |= {**options, "method": name.kind}


def _set_weighting(settings: dict[str, Any], options: dict[str, Any]) -> None:
    """Move the options about the weighting to its section; another kind drops foreign keys."""
    section: dict[str, Any] = settings.setdefault("weighting", {})
    if (kind := options.pop("weighting", None)) is not None:
        section["kind"] = kind
        for parameter, kinds in WEIGHTING_PARAMETERS.items():
            if kind not in kinds:
                section.pop(parameter, None)
    section |= {name: options.pop(name) for name in WEIGHTING_PARAMETERS if name in options}


def resolved(config: RunConfig) -> dict[str, Any]:
    """Every setting with its value: defaults filled in, "auto" prompts and names spelled out."""
    config = settled(config)
    settings = config.model_dump(mode="json")
    settings["prompt"]["system"] = config.system_prompt
    if config.fallback == "speculate" and config.guess_tokens is None:
        settings["guess_tokens"] = GUESS_TOKENS
    if config.weighting.kind == "logistic" and config.weighting.alpha is None:
        settings["weighting"]["alpha"] = DEFAULT_ALPHA
    return settings


def config_hash(config: RunConfig) -> str:
    """Sixteen hex digits that name everything that decides an answer, except the seed.

    Left out is what changes the course of a run but no answer: the whole `run` section (the seed
    is recorded beside the hash), the engine's slots and threads, the lookahead, the fallback and
    its guesses, patience with servers, how `rsd serve` serves, where vLLM and llama.cpp do, and
    workers on Ray.
    """
    settings = resolved(config)
    if not settings["prompt"]["template"]:
        del settings["prompt"]["template"]  # as before there was such a key
    if config.thinking == ThinkingConfig():
        del settings["thinking"]  # as before there was such a section
    for name in ("run", "lookahead", "fallback", "guess_tokens", "http", "ray"):
        del settings[name]
    del settings["engine"]["slots"], settings["engine"]["threads"], settings["server"]
    for name in ("mark", "separator", "good", "bad", "bounds", "at", "calibration"):
        if settings["reward"][name] is None:  # as before there were these settings
            del settings["reward"][name]
    settings["vllm"] = {
        role: {key: settings["vllm"][role][key] for key in ("max_model_len", "arguments")}
        for role in Role
    }
    runs = settings.pop("llamacpp")
    if config.has_gguf:
        settings["llamacpp"] = {"dequantise": runs["dequantise"]}
    canonical = json.dumps(settings, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]
