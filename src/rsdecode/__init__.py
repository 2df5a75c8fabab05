"""Reward-Guided Speculative Decoding (RSD).

A small draft model writes each reasoning step, a process reward model scores it, a weighting
function decides, and only rejected steps are written by the large target model
(arXiv 2501.19324).
"""

from __future__ import annotations

from rsdecode.core.errors import RsdError
from rsdecode.core.types import FinishReason, Problem, Role, Step, Trajectory
from rsdecode.methods import RSD, Single
from rsdecode.session.drive import drive

__version__ = "0.1.0"

__all__ = [
    "RSD",
    "FinishReason",
    "Problem",
    "Role",
    "RsdError",
    "Single",
    "Step",
    "Trajectory",
    "__version__",
    "drive",
]
