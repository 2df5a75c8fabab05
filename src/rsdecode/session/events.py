"""What a handle tells while its problem is being solved.

`Delta` is provisional: the step it belongs to may still be rejected. What a `Decided` holds is
final; joined, the texts of all decided steps are the text of the trajectory.
"""

from __future__ import annotations

from dataclasses import dataclass

from rsdecode.core.types import FinishReason, Role, Step, Trajectory


@dataclass(frozen=True, slots=True)
class Delta:
    """New text of a step that is being written.

    Attributes:
        role: who writes.
        step: index of the step in the answer, from 0; a step that is drafted ahead has the next.
        candidate: which of several texts that are written side by side for this step.
        text: what is new.
    """

    role: Role
    step: int
    candidate: int
    text: str


@dataclass(frozen=True, slots=True)
class Proposed:
    """The draft has written a candidate for a step, or a whole answer.

    Attributes:
        step: index of the step in the answer, from 0.
        candidate: which of the candidates for this step.
        text: of the candidate.
        finish_reason: why it ended.
        tokens: how many tokens it has.
    """

    step: int
    candidate: int
    text: str
    finish_reason: FinishReason
    tokens: int


@dataclass(frozen=True, slots=True)
class Scored:
    """The reward model has scored a candidate.

    Attributes:
        step: index of its first step in the answer, from 0.
        candidate: which of the candidates that were scored together.
        rewards: in [0, 1], one for each step of the candidate.
    """

    step: int
    candidate: int
    rewards: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Decided:
    """A step has entered the answer, with its source, reward, weight and rejected drafts.

    Attributes:
        index: of the step in the answer, from 0.
    """

    index: int
    step: Step


@dataclass(frozen=True, slots=True)
class Finished:
    """The last event: the problem has ended, for whatever reason."""

    trajectory: Trajectory


Event = Delta | Proposed | Scored | Decided | Finished
