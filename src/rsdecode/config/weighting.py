"""Weighting functions of the user's own: `python:module:function`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rsdecode.core.weighting import Weighting
from rsdecode.rewards.user_function import find_function


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
    target = spec.removeprefix("python:")
    return ImportedWeighting(spec, find_function(target, f"weighting {spec!r}"))
