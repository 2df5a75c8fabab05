"""The resolved configuration, saved with results, and its hash."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from rsdecode.config.schema import RunConfig

DEFAULT_ALPHA = 10.0


def resolved(config: RunConfig) -> dict[str, Any]:
    """Every setting with its value: defaults filled in, "auto" prompts spelled out."""
    settings = config.model_dump(mode="json")
    settings["prompt"]["system"] = config.system_prompt
    if config.weighting.kind == "logistic" and config.weighting.alpha is None:
        settings["weighting"]["alpha"] = DEFAULT_ALPHA
    return settings


def config_hash(config: RunConfig) -> str:
    """Sixteen hex digits that name everything that decides an answer, except the seed.

    Left out is what changes the course of a run but no answer: the whole `run` section (the seed
    is recorded beside the hash) and the engine's slots.
    """
    settings = resolved(config)
    del settings["run"], settings["engine"]["slots"]
    canonical = json.dumps(settings, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]
