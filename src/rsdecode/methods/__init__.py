"""Decoding methods: generators that yield requests and return a trajectory. They do no I/O."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from rsdecode.core.protocols import Models
from rsdecode.core.requests import Decoding
from rsdecode.core.types import Problem, Role
from rsdecode.methods.beam import Beam
from rsdecode.methods.best_of_n import BestOfN
from rsdecode.methods.gsi import GSI
from rsdecode.methods.majority import Majority
from rsdecode.methods.process_best_of_n import ProcessBestOfN
from rsdecode.methods.rsd import RSD
from rsdecode.methods.single import Single
from rsdecode.methods.speculative import Speculative


class Method(Protocol):
    """A configured decoding method. Calling it starts the decoding of one problem."""

    @property
    def roles(self) -> frozenset[Role]:
        """The models that the method needs."""
        ...

    def __call__(self, problem: Problem, *, seed: int = 0, sample: int = 0) -> Decoding:
        """Start decoding; nothing runs until the first requests are asked for."""
        ...


@runtime_checkable
class ChecksModels(Protocol):
    """A method that needs more of its models than that they are there."""

    def check(self, models: Models) -> None:
        """Check them before anything is decoded.

        Raises:
            ConfigError: they do not suit; says why, and the remedy.
        """
        ...


def require(method: Method, models: Models) -> None:
    """Check that `models` has what the method needs.

    Raises:
        ConfigError: a model is missing, or does not suit.
    """
    models.require(method.roles)
    if isinstance(method, ChecksModels):
        method.check(models)


__all__ = [
    "GSI",
    "RSD",
    "Beam",
    "BestOfN",
    "ChecksModels",
    "Majority",
    "Method",
    "ProcessBestOfN",
    "Single",
    "Speculative",
    "require",
]
