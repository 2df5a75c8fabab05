"""One model alone: the draft or the target."""

from __future__ import annotations

from dataclasses import dataclass, replace

from rsdecode.core.errors import RsdError
from rsdecode.core.limits import Limits
from rsdecode.core.requests import Decoding, Generated, Sampling, tell
from rsdecode.core.segment import PARAGRAPH, Boundary
from rsdecode.core.types import FinishReason, Problem, Role
from rsdecode.methods.answers import steps_of, stop_reason, whole_answers
from rsdecode.methods.thinking import Thinking
from rsdecode.methods.trajectory import Deciding, TrajectoryBuilder


@dataclass(frozen=True, slots=True)
class Single:
    """One model writes the whole answer in one request; no reward model.

    The answer is cut into steps afterwards, for reading; `limits.max_tokens` is the only limit.
    Where thoughts have a budget, they are a request of their own, and shown when they have ended.
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

            def show(thoughts: Generated) -> Deciding[None]:
                return self._enter(trajectory, thoughts, FinishReason.STOP)

            [written] = yield from whole_answers(
                trajectory, self.role, self.sampling, sessions, after_thoughts=show
            )
            yield from self._enter(trajectory, written, written.finish_reason)
        except RsdError as error:
            return trajectory.fail(error)
        return trajectory.end(stop_reason(written))

    def _enter(
        self, trajectory: TrajectoryBuilder, written: Generated, finish: FinishReason
    ) -> Deciding[None]:
        """Cut what was written into steps, behind those that there are, and show them."""
        before = sum(len(step.text) for step in trajectory.steps)
        known = sum(step.token_count for step in trajectory.steps)
        parts = trajectory.parts(written.segment.text[before:], self.boundary)
        if len(parts) > 1 and parts[-2].thought and not parts[-1].text.strip():
            *parts, last, space = parts  # the template's line breaks behind the thoughts
            parts.append(last._replace(text=last.text + space.text))
        new = steps_of(
            parts,
            self.role,
            finish,
            tokens=written.usage.decoded_tokens - known,
            told=None if before else written.segment.told,
        )
        if not new and trajectory.steps:
            trajectory.steps[-1] = replace(trajectory.steps[-1], finish_reason=finish)
        trajectory.steps.extend(new)
        for step in new:
            yield from tell(step)
