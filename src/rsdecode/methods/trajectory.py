"""What a method has decided so far, and the trajectory that it makes of it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from rsdecode.core.errors import Cancelled, ContextFull, RsdError
from rsdecode.core.limits import Limits
from rsdecode.core.requests import (
    Assessed,
    Begin,
    Decoding,
    Generate,
    Generated,
    Proposed,
    Reply,
    Request,
    Sampling,
    Score,
    Scored,
    Verified,
    begin,
    session_of,
    tell,
)
from rsdecode.core.seeds import derive_seed
from rsdecode.core.segment import Boundary
from rsdecode.core.thoughts import THOUGHTS
from rsdecode.core.types import (
    Alternative,
    Context,
    FinishReason,
    Ledger,
    Problem,
    Role,
    Segment,
    Step,
    Trajectory,
)
from rsdecode.core.weighting import BinaryStep, Weighting
from rsdecode.methods.thinking import Part, Progress, Start, Thinking

Result = TypeVar("Result")
Deciding = Generator[Sequence[Request], Sequence[Reply], Result]
"""A part of a method: asks for things on the way to its result (use with `yield from`)."""


@dataclass(slots=True)
class TrajectoryBuilder:
    """The growing trajectory of one sample of one problem.

    Attributes:
        thinking: what is done with thoughts; None for a method that does not tell them apart.
        start: how replies begin (see `begin`).
    """

    problem: Problem
    limits: Limits
    seed: int
    sample: int
    thinking: Thinking | None = None
    steps: list[Step] = field(default_factory=list[Step])
    ledger: Ledger = Ledger()
    alternatives: tuple[Alternative, ...] = ()
    start: Start = field(default_factory=Start)

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

    def context_of(self, role: Role) -> Context:
        """The context as one model reads it: thoughts that only others' prompts open are opened."""
        context = self.context
        if role not in self.start.lacking:
            return context
        opening = Segment(f"{self.start.opening}\n")
        return replace(context, answer=(opening, *context.answer))

    @property
    def progress(self) -> Progress | None:
        """Where it stands between thoughts and answer; None where they are not told apart."""
        if self.thinking is None:
            return None
        return Progress(self.thinking, self.start, self.steps)

    def begin(self, *roles: Role) -> Deciding[None]:
        """Find out how the replies of the models begin, where thoughts are told apart."""
        if self.thinking is None:
            return
        marks, messages = self.thinking.marks, self.problem.messages
        begun = yield from begin([Begin(role, messages, marks, self.session) for role in roles])
        self.start = self.thinking.started(dict(zip(roles, begun, strict=True)))

    @property
    def thinking_is_off(self) -> bool:
        """Whether thoughts are not wanted."""
        return self.thinking is not None and self.thinking.off

    def is_thought(self, text: str) -> bool:
        """Whether a text, as the next step, is one of thoughts."""
        return (progress := self.progress) is not None and progress.is_thought(text)

    @property
    def writer(self) -> Role | None:
        """Who writes the next step without being judged; None if the reward decides."""
        return None if (progress := self.progress) is None else progress.writer

    def candidates(self, count: int) -> int:
        """How many of so many candidates are drawn: one where nobody would judge them."""
        progress = self.progress
        alone = progress is not None and progress.inside and progress.writer is not None
        return 1 if alone else count

    def owner(self, text: str) -> Role | None:
        """Whose a step is that reads so, if it needs no judge; None if the reward decides."""
        progress = self.progress
        free = progress is not None and not progress.thinking.judged and progress.is_thought(text)
        return progress.thinking.writer if progress is not None and free else None

    def score_of(self, segment: Segment, session: str, *, ends: bool) -> Score:
        """The request for the reward of a next step.

        Where a reward model reads answers without their thoughts, it reads them from their first
        character on.
        """
        thought, steps = self.is_thought(segment.text), self.steps
        alone = self.thinking is not None and self.thinking.alone and not thought
        if not alone or not any(step.thought for step in steps):
            return Score(self.context, (segment,), session, ends, thoughts=thought)
        answer = [step.segment for step in steps if not step.thought]
        read = [*answer, segment]
        while read and not read[0].text.strip():
            read.pop(0)
        if read and read[0].text != (text := read[0].text.lstrip()):
            read[0] = Segment(text)
        *before, last = read or [segment]
        return Score(
            Context(self.problem.messages, tuple(before)), (last,), session, ends, first=len(steps)
        )

    def parts(self, text: str, boundary: Boundary) -> list[Part]:
        """The steps of a whole answer; joined they are the answer again."""
        progress = self.progress
        if progress is None:
            return [Part(step) for step in boundary.split(text)]
        return progress.parts(text, boundary)

    def thoughts_weighting(self, text: str) -> Weighting | None:
        """The weighting function of a draft that is one of thoughts, where these have their own."""
        threshold = None if self.thinking is None else self.thinking.threshold
        return BinaryStep(threshold) if threshold is not None and self.is_thought(text) else None

    def closing_step(self) -> Step | None:
        """The step that ends the thoughts, if they have been long enough."""
        return None if (progress := self.progress) is None else progress.closing_step()

    def enter(self, step: Step) -> Step:
        """Append a step; returns it, told apart from those of the other part."""
        if not step.closes_thoughts and self.is_thought(step.text):
            step = replace(step, thought=True)
        self.steps.append(step)
        return step

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
        progress, tokens = self.progress, min(self.limits.max_step_tokens, self.room)
        return Generate(
            role=role,
            context=self.context_of(role),
            max_tokens=tokens if progress is None else progress.room(tokens),
            boundary=boundary if progress is None else progress.boundary(boundary),
            sampling=sampling,
            seed=self.seed_for(role.value, place),
            session=session or self.session,
        )

    def write(self, next_step: Callable[[], Deciding[Step]], *roles: Role) -> Decoding:
        """Write the whole answer, step by step (use with `return (yield from ...)`).

        Args:
            next_step: decides on the next step.
            roles: the models that write.
        """
        try:
            yield from self.begin(*roles)
            while len(self.steps) < self.limits.max_steps:
                step = self.enter(self.closing_step() or (yield from next_step()))
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
        if self.room <= 0:
            return FinishReason.LENGTH
        progress = self.progress
        over = progress is not None and not step.thought and progress.repeated
        return FinishReason.REPEATED if over else None

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
            thoughts=THOUGHTS if (progress := self.progress) is None else progress.found,
        )

    def fail(self, error: RsdError) -> Trajectory:
        """End after a failed request or a cancellation; the steps decided so far are kept."""
        if isinstance(error, ContextFull):
            return self.end(FinishReason.LENGTH)
        cancelled = isinstance(error, Cancelled)
        return self.end(FinishReason.CANCELLED if cancelled else FinishReason.ERROR, str(error))


def unjudged(written: Generated, role: Role) -> Step:
    """A step that has entered without a reward."""
    return Step(
        segment=written.segment,
        source=role,
        finish_reason=written.finish_reason,
        accepted=role is Role.DRAFT,
        token_count=written.token_count,
    )
