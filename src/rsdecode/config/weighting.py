"""Weighting functions of the user's own: `python:module:function`."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rsdecode.core.errors import ConfigError
from rsdecode.core.weighting import Weighting


@dataclass(frozen=True, slots=True)
class ImportedWeighting:
    """A function of the user's, and the spec that names it in messages and results."""

    spec: str
    function: Callable[[float], Any]

    def __call__(self, reward: float) -> float:
        """w(reward); `core.weighting.weight_of` says what is wrong with a result."""
        return float(self.function(reward))

    def __repr__(self) -> str:
        return self.spec


def load_weighting(spec: str) -> Weighting:
    """Import the function that `python:module:function` names.

    Raises:
        ConfigError: it cannot be imported, or is no function.
    """
    module, _, name = spec.removeprefix("python:").partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except Exception as error:
        raise ConfigError(
            f"weighting {spec} cannot be imported: {type(error).__name__}: {error}"
        ) from error
    if not callable(found):
        raise ConfigError(f"weighting {spec} is not a function")
    return ImportedWeighting(spec, found)
