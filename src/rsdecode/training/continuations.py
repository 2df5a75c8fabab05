"""Several continuations of the beginning of an answer: what samples and rollouts are made of."""

from __future__ import annotations

from dataclasses import dataclass

from rsdecode.core.errors import RsdError
from rsdecode.core.limits import Limits
from rsdecode.core.requests import Decoding, Generate, Sampling, generate
from rsdecode.core.segment import WHOLE_ANSWER
from rsdecode.core.types import Alternative, FinishReason, Problem, Role, Segment
from rsdecode.methods.answers import stop_reason
from rsdecode.methods.trajectory import TrajectoryBuilder


@dataclass(frozen=True, slots=True)
class Continuations:
    """One model writes `count` answers to their end, all asked for at once.

    The trajectory has no steps; each continuation is one of its alternatives, with its own text and
    stop reason.

    Attributes:
        role: who writes.
        prefix: the beginning that they all share, step by step, separators included.
        purpose: with the number of the continuation, what its seed is derived from beside the
            problem and the sample.
        first: number of the first one.
    """

    role: Role
    prefix: tuple[str, ...] = ()
    count: int = 1
    first: int = 0
    purpose: str = "sample"
    limits: Limits = Limits()
    sampling: Sampling = Sampling()

    @property
    def roles(self) -> frozenset[Role]:
        """The one model."""
        return frozenset({self.role})

    def __call__(self, problem: Problem, *, seed: int = 0, sample: int = 0) -> Decoding:
        """Write them (see `Method`)."""
        trajectory = TrajectoryBuilder(problem, self.limits, seed, sample)
        context = trajectory.context.followed_by(*map(Segment, self.prefix))
        numbers = range(self.first, self.first + self.count)
        requests = [
            Generate(
                role=self.role,
                context=context,
                max_tokens=self.limits.max_tokens,
                boundary=WHOLE_ANSWER,
                sampling=self.sampling,
                seed=trajectory.seed_for(f"{self.purpose}@{len(self.prefix)}", number),
                session=trajectory.branch(number),
            )
            for number in numbers
        ]
        try:
            written = yield from generate(requests)
        except RsdError as error:
            return trajectory.fail(error)
        trajectory.charge(self.role, *written)
        trajectory.alternatives = tuple(
            Alternative(reply.segment.text, stop_reason(reply)) for reply in written
        )
        return trajectory.end(FinishReason.EOS)
