"""Configuration: pydantic at the edge, and the builder that makes a runtime of it."""

from __future__ import annotations

from rsdecode.config.load import load_config
from rsdecode.config.resolve import config_hash, resolved
from rsdecode.config.schema import RunConfig
from rsdecode.config.specs import ModelSpec

__all__ = ["ModelSpec", "RunConfig", "config_hash", "load_config", "resolved"]
