"""Weighting functions of the user's own: `python:module:function`."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rsdecode.core.errors import ConfigError, RequestError
from rsdecode.core.weighting import Weighting


@dataclass(frozen=True, slots=True)
class CheckedWeighting:
    """A user's function whose mistakes end the problem at hand, not the run."""

    spec: str
    function: Callable[[float], Any]

    def __call__(self, reward: float) -> float:
        """w(reward).

        Raises:
            RequestError: the function raised, or gave no number in [0, 1].
        """
        try:
            weight = float(self.function(reward))
        except Exception as error:
            raise RequestError(
                f"weighting {self.spec} failed on reward {reward!r}: "
                f"{type(error).__name__}: {error}"
            ) from error
        if not (math.isfinite(weight) and 0.0 <= weight <= 1.0):
            raise RequestError(
                f"weighting {self.spec} gave {weight!r} for reward {reward!r}: "
                "it must be a number in [0, 1]"
            )
        return weight


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
    return CheckedWeighting(spec, found)
