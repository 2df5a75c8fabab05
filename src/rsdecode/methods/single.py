"""One model alone: the draft or the target."""

from __future__ import annotations

from dataclasses import dataclass

from rsdecode.core.errors import RsdError
from rsdecode.core.limits import Limits
from rsdecode.core.requests import Decoding, Sampling, tell
from rsdecode.core.segment import PARAGRAPH, Boundary
from rsdecode.core.types import Problem, Role
from rsdecode.methods.answers import steps_of, stop_reason, whole_answers
from rsdecode.methods.thinking import Thinking
from rsdecode.methods.trajectory import TrajectoryBuilder


@dataclass(frozen=True, slots=True)
class Single:
    """One model writes the whole answer in one request; no reward model.

    The answer is cut into steps afterwards, for reading; `limits.max_tokens` is the only limit.
    Where thoughts have a budget, they are a request of their own.
    """

    role: Role = Role.TARGET
    boundary: Boundary = PARAGRAPH
    limits: Limits = Limits()
    sampling: Sampling = Sampling()
    thinking: Thinking | None = None

    def __post_init__(self) -> None:
        if self.role is Role.REWARD:
            raise ValueError("a reward model writes no answers: use the draft or the target")

    @property
    def roles(self) -> frozenset[Role]:
        """The one model."""
        return frozenset({self.role})

    def __call__(self, problem: Problem, *, seed: int = 0, sample: int = 0) -> Decoding:
        """Decode one problem (see `Method`)."""
        trajectory = TrajectoryBuilder(problem, self.limits, seed, sample, self.thinking)
        try:
            sessions = [trajectory.session]
            [written] = yield from whole_answers(trajectory, self.role, self.sampling, sessions)
            parts = trajectory.parts(written.segment.text, self.boundary)
            count = written.usage.decoded_tokens
            finish, told = written.finish_reason, written.segment.told
            steps = steps_of(parts, self.role, finish, tokens=count, told=told)
            trajectory.steps.extend(steps)
            for step in trajectory.steps:
                yield from tell(step)
        except RsdError as error:
            return trajectory.fail(error)
        return trajectory.end(stop_reason(written))
