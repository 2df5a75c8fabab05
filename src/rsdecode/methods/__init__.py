"""Decoding methods: generators that yield requests and return a trajectory. They do no I/O."""

from __future__ import annotations

from typing import Protocol

from rsdecode.core.requests import Decoding
from rsdecode.core.types import Problem, Role
from rsdecode.methods.rsd import RSD
from rsdecode.methods.single import Single


class Method(Protocol):
    """A configured decoding method. Calling it starts the decoding of one problem."""

    @property
    def roles(self) -> frozenset[Role]:
        """The models that the method needs."""
        ...

    def __call__(self, problem: Problem, *, seed: int = 0, sample: int = 0) -> Decoding:
        """Start decoding; nothing runs until a driver asks for the first requests."""
        ...


__all__ = ["RSD", "Method", "Single"]
