"""One model alone: the draft or the target."""

from __future__ import annotations

from dataclasses import dataclass

from rsdecode.core.errors import RsdError
from rsdecode.core.limits import Limits
from rsdecode.core.requests import Decoding, Generate, Sampling, generate, tell
from rsdecode.core.segment import PARAGRAPH, WHOLE_ANSWER, Boundary
from rsdecode.core.types import Problem, Role
from rsdecode.methods.answers import steps_of, stop_reason
from rsdecode.methods.trajectory import TrajectoryBuilder


@dataclass(frozen=True, slots=True)
class Single:
    """One model writes the whole answer in one request; no reward model.

    The answer is cut into steps afterwards, for reading; `limits.max_tokens` is the only limit.
    """

    role: Role = Role.TARGET
    boundary: Boundary = PARAGRAPH
    limits: Limits = Limits()
    sampling: Sampling = Sampling()

    def __post_init__(self) -> None:
        if self.role is Role.REWARD:
            raise ValueError("a reward model writes no answers: use the draft or the target")

    @property
    def roles(self) -> frozenset[Role]:
        """The one model."""
        return frozenset({self.role})

    def __call__(self, problem: Problem, *, seed: int = 0, sample: int = 0) -> Decoding:
        """Decode one problem (see `Method`)."""
        trajectory = TrajectoryBuilder(problem, self.limits, seed, sample)
        request = Generate(
            role=self.role,
            context=trajectory.context,
            max_tokens=self.limits.max_tokens,
            boundary=WHOLE_ANSWER,
            sampling=self.sampling,
            seed=trajectory.seed_for(self.role.value),
            session=trajectory.session,
        )
        try:
            [written] = yield from generate([request])
            trajectory.charge(self.role, written)
            text, finish = written.segment.text, written.finish_reason
            count = written.usage.decoded_tokens
            told = written.segment.told
            steps = steps_of(text, self.role, self.boundary, finish, tokens=count, told=told)
            trajectory.steps.extend(steps)
            for step in trajectory.steps:
                yield from tell(step)
        except RsdError as error:
            return trajectory.fail(error)
        return trajectory.end(stop_reason(written))
