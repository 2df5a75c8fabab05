"""How long a step and an answer may get."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Three separate limits; reaching one is always visible in a finish reason.

    Attributes:
        max_steps: steps of one answer (`max_steps`).
        max_step_tokens: tokens of one step (`step_limit`).
        max_tokens: tokens of the whole answer, in its writers' tokenizers (`length`).
    """

    max_steps: int = 100
    max_step_tokens: int = 512
    max_tokens: int = 4096

    def __post_init__(self) -> None:
        for name in ("max_steps", "max_step_tokens", "max_tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)!r} must be at least 1")
