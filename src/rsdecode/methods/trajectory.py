"""What a method has decided so far, and the trajectory that it makes of it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from rsdecode.core.errors import Cancelled, ContextFull, RsdError
from rsdecode.core.limits import Limits
from rsdecode.core.requests import (
    Assessed,
    Decoding,
    Generate,
    Generated,
    Proposed,
    Reply,
    Request,
    Sampling,
    Scored,
    Verified,
    session_of,
    tell,
)
from rsdecode.core.seeds import derive_seed
from rsdecode.core.segment import Boundary
from rsdecode.core.types import (
    Alternative,
    Context,
    FinishReason,
    Ledger,
    Problem,
    Role,
    Step,
    Trajectory,
)

Result = TypeVar("Result")
Deciding = Generator[Sequence[Request], Sequence[Reply], Result]
"""A part of a method: asks for things on the way to its result (use with `yield from`)."""


@dataclass(slots=True)
class TrajectoryBuilder:
    """The growing trajectory of one sample of one problem."""

    problem: Problem
    limits: Limits
    seed: int
    sample: int
    steps: list[Step] = field(default_factory=list[Step])
    ledger: Ledger = Ledger()
    alternatives: tuple[Alternative, ...] = ()

    @property
    def session(self) -> str:
        """Names the prefix that this answer's requests share."""
        return session_of(self.problem, self.sample)

    def branch(self, place: int) -> str:
        """Names a prefix of its own for each of several continuations, side by side."""
        return f"{self.session}/{place}"

    @property
    def context(self) -> Context:
        """The question and the steps so far: z_i."""
        return Context(self.problem.messages, tuple(step.segment for step in self.steps))

    @property
    def room(self) -> int:
        """Tokens that the answer may still grow by."""
        return self.limits.max_tokens - sum(step.token_count for step in self.steps)

    def seed_for(self, purpose: str, candidate: int = 0) -> int:
        """A seed for the next step that depends on nothing else that runs."""
        parts = (self.seed, self.problem.id, self.sample, len(self.steps), purpose, candidate)
        return derive_seed(*parts)

    def next_step(
        self,
        role: Role,
        boundary: Boundary,
        sampling: Sampling,
        *,
        place: int = 0,
        session: str | None = None,
    ) -> Generate:
        """Ask `role` for the next step.

        Args:
            role: who writes.
            boundary: where the step ends.
            sampling: how tokens are drawn.
            place: tells candidates apart: each has a seed of its own.
            session: of a candidate with a prefix of its own (see `branch`).
        """
        return Generate(
            role=role,
            context=self.context,
            max_tokens=min(self.limits.max_step_tokens, self.room),
            boundary=boundary,
            sampling=sampling,
            seed=self.seed_for(role.value, place),
            session=session or self.session,
        )

    def write(self, next_step: Callable[[], Deciding[Step]]) -> Decoding:
        """Write the whole answer, step by step (use with `return (yield from ...)`).

        Args:
            next_step: decides on the next step.
        """
        try:
            while len(self.steps) < self.limits.max_steps:
                step = yield from next_step()
                self.steps.append(step)
                yield from tell(step)
                if reason := self.stop_after(step):
                    return self.end(reason)
            return self.end(FinishReason.MAX_STEPS)
        except RsdError as error:
            return self.fail(error)

    def charge(
        self, role: Role, *replies: Generated | Scored | Proposed | Verified | Assessed
    ) -> None:
        """Add what the replies cost to the ledger."""
        for reply in replies:
            self.ledger = self.ledger.charge(role, reply.usage)

    def stop_after(self, step: Step) -> FinishReason | None:
        """Whether the answer is over after `step`, and why.

        A step that was cut at its own cap is continued by the next one; cut because the answer has
        no room left, it ends the answer with `length`.
        """
        if step.finish_reason in (FinishReason.EOS, FinishReason.LENGTH):
            return step.finish_reason
        return FinishReason.LENGTH if self.room <= 0 else None

    def end(self, reason: FinishReason, error: str | None = None) -> Trajectory:
        """The trajectory as it stands."""
        return Trajectory(
            problem=self.problem,
            steps=tuple(self.steps),
            stop_reason=reason,
            ledger=self.ledger,
            seed=self.seed,
            sample=self.sample,
            error=error,
            alternatives=self.alternatives,
        )

    def fail(self, error: RsdError) -> Trajectory:
        """End after a failed request or a cancellation; the steps decided so far are kept."""
        if isinstance(error, ContextFull):
            return self.end(FinishReason.LENGTH)
        cancelled = isinstance(error, Cancelled)
        return self.end(FinishReason.CANCELLED if cancelled else FinishReason.ERROR, str(error))
