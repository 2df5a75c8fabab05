"""What all reward models do with a request that asks for nothing."""

from __future__ import annotations

from rsdecode.core.errors import RewardError
from rsdecode.core.requests import Failed


def nothing_to_score() -> Failed:
    """The reply to a `Score` without steps."""
    return Failed(RewardError("a score request has no steps: name at least one step to score"))
