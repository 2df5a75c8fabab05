"""Reward-Guided Speculative Decoding (RSD).

A small draft model writes each reasoning step, a process reward model scores it, a weighting
function decides, and only rejected steps are written by the large target model
(arXiv 2501.19324).

    import rsdecode

    with rsdecode.load() as rsd:  # draft="hf:...", target="hf:...", reward="hf:..." for your own
        print(rsd.solve("Ben has 24 buttons. Ben loses 19 of them. How many are left?").answer)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rsdecode.core.errors import RsdError
    from rsdecode.core.limits import Limits
    from rsdecode.core.protocols import LanguageModel, Models, RewardModel
    from rsdecode.core.requests import Sampling
    from rsdecode.core.segment import Boundary
    from rsdecode.core.types import FinishReason, Message, Problem, Role, Step, Trajectory
    from rsdecode.methods import (
        RSD,
        Beam,
        BestOfN,
        Majority,
        Method,
        ProcessBestOfN,
        Single,
        Speculative,
    )
    from rsdecode.session.drive import drive
    from rsdecode.session.events import Decided, Delta, Event, Finished, Proposed, Scored
    from rsdecode.session.handle import Handle
    from rsdecode.session.session import Session
    from rsdecode.solver import Solver, load

__version__ = "0.1.0"

_MODULES = {
    "rsdecode.core.errors": "RsdError",
    "rsdecode.core.limits": "Limits",
    "rsdecode.core.protocols": "LanguageModel Models RewardModel",
    "rsdecode.core.requests": "Sampling",
    "rsdecode.core.segment": "Boundary",
    "rsdecode.core.types": "FinishReason Message Problem Role Step Trajectory",
    "rsdecode.methods": "RSD Beam BestOfN Majority Method ProcessBestOfN Single Speculative",
    "rsdecode.session.drive": "drive",
    "rsdecode.session.events": "Decided Delta Event Finished Proposed Scored",
    "rsdecode.session.handle": "Handle",
    "rsdecode.session.session": "Session",
    "rsdecode.solver": "Solver load",
}
_LATE = {name: module for module, names in _MODULES.items() for name in names.split()}
"""Where each public name is; its module is imported when the name is first used."""

__all__ = [
    "RSD",
    "Beam",
    "BestOfN",
    "Boundary",
    "Decided",
    "Delta",
    "Event",
    "FinishReason",
    "Finished",
    "Handle",
    "LanguageModel",
    "Limits",
    "Majority",
    "Message",
    "Method",
    "Models",
    "Problem",
    "ProcessBestOfN",
    "Proposed",
    "RewardModel",
    "Role",
    "RsdError",
    "Sampling",
    "Scored",
    "Session",
    "Single",
    "Solver",
    "Speculative",
    "Step",
    "Trajectory",
    "__version__",
    "drive",
    "load",
]


def __getattr__(name: str) -> Any:
    if name in _LATE:
        value = getattr(importlib.import_module(_LATE[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
