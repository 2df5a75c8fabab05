"""Evaluation past one machine, on Ray.

A cluster holds workers; each is an actor with models of its own, in which a session answers many
jobs side by side. Problems and configurations travel, never generators, and what comes back is the
record of a whole answer. Ray is told to repeat nothing by itself: a job whose worker is lost is
given to another one here, so every answer is there once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rsdecode.distributed.processor import RSDProcessor

__all__ = ["RSDProcessor"]


def __getattr__(name: str) -> Any:
    if name == "RSDProcessor":
        from rsdecode.distributed.processor import RSDProcessor

        return RSDProcessor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
