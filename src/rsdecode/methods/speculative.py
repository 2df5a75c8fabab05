"""Speculative decoding, token by token and lossless (arXiv 2211.17192, arXiv 2302.01318)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from rsdecode.core.errors import ConfigError, RsdError
from rsdecode.core.limits import Limits
from rsdecode.core.protocols import Models
from rsdecode.core.requests import (
    Decoding,
    Generate,
    Propose,
    Sampling,
    Verify,
    generate,
    propose,
    tell,
    verify,
)
from rsdecode.core.segment import PARAGRAPH, WHOLE_ANSWER, Boundary
from rsdecode.core.types import Context, FinishReason, Problem, Role, Segment, Step
from rsdecode.methods.answers import steps_of
from rsdecode.methods.budgeted import joined
from rsdecode.methods.thinking import Thinking
from rsdecode.methods.trajectory import Deciding, TrajectoryBuilder


@dataclass(slots=True)
class _GrowingAnswer:
    """An answer that grows by a few tokens at a time; what they add stays one segment.

    Attributes:
        before: thoughts that were closed, and what closed them.
        written: tokens so far.
    """

    trajectory: TrajectoryBuilder
    before: tuple[Segment, ...] = ()
    segment: Segment = field(default_factory=lambda: Segment(""))
    written: int = 0
    rounds: int = 0

    @property
    def context(self) -> Context:
        """The question and the answer so far."""
        context = self.trajectory.context.followed_by(*self.before)
        return context.followed_by(self.segment) if self._begun else context

    @property
    def _begun(self) -> bool:
        """Whether the present segment has a token; a part of a character is no text yet."""
        return bool(self.segment.text) or self.segment.tokens is not None

    @property
    def text(self) -> str:
        """All that has been written."""
        return "".join(segment.text for segment in (*self.before, self.segment))

    @property
    def room(self) -> int:
        """Tokens that the answer may still grow by."""
        return self.trajectory.limits.max_tokens - self.written

    def seed_for(self, purpose: str) -> int:
        """A seed for this round."""
        return self.trajectory.seed_for(purpose, self.rounds)

    def add(self, more: Segment, tokens: int) -> None:
        """Append what a round has written."""
        self.written += tokens
        self.segment = joined([self.segment, more]) if self._begun else more
        self.rounds += 1

    def close_thoughts(self) -> None:
        """End the thoughts, if their budget has just been used up."""
        thinking = self.trajectory.thinking
        budget = None if thinking is None else thinking.limit(self.trajectory.start)
        if budget is None or self.before or self.written < budget:
            return
        growing = replace(self.trajectory, steps=[])
        if self._begun:
            tokens = max(self.written, 1)
            growing.enter(Step(self.segment, Role.TARGET, FinishReason.STOP, token_count=tokens))
        step = growing.closing_step()
        closing = None if step is None else step.segment
        self.before = tuple(s for s in (self.segment, closing) if s is not None and s.text)
        self.segment = Segment("")


@dataclass(frozen=True, slots=True)
class Speculative:
    """The draft proposes gamma tokens, and the target verifies them in one forward pass.

    Each proposed token is accepted with probability min(1, p/q); the first that is not is drawn
    again from norm(max(0, p - q)), and after a proposal that stands the target adds a token. So the
    answer is distributed, and at temperature 0 equal, to the target's alone. Where only one token
    is left, or the draft's context is full, the target writes the rest by itself.

    The answer is cut into steps afterwards, for reading; all are the target's, whoever proposed
    their tokens. How many of the draft's stood is in the ledger (`Usage.accepted_tokens`).

    Attributes:
        gamma: tokens of a proposal.
        boundary: where a step ends, for reading.
        limits: `max_tokens` is the only one.
        sampling: how the target draws tokens; the draft proposes with the same.
        thinking: what is done with thoughts: their budget, to within a proposal.

    Raises:
        ValueError: gamma is not at least 1.
    """

    gamma: int = 5
    boundary: Boundary = PARAGRAPH
    limits: Limits = Limits()
    sampling: Sampling = Sampling()
    thinking: Thinking | None = None

    def __post_init__(self) -> None:
        if self.gamma < 1:
            raise ValueError(f"gamma {self.gamma!r} must be at least 1")

    @property
    def roles(self) -> frozenset[Role]:
        """The draft and the target."""
        return frozenset({Role.DRAFT, Role.TARGET})

    def check(self, models: Models) -> None:
        """Check that the two models have the same tokenizer.

        Raises:
            ConfigError: one hides its token probabilities, or the tokenizers differ.
        """
        draft, target = models.proposer().vocabulary, models.verifier().vocabulary
        if draft != target:
            raise ConfigError(
                "speculative decoding compares single tokens, but draft and target have different "
                f"tokenizers ({draft} and {target}): choose a draft with the target's tokenizer, "
                "or --method rsd, which needs only text"
            )

    def __call__(self, problem: Problem, *, seed: int = 0, sample: int = 0) -> Decoding:
        """Decode one problem (see `Method`)."""
        trajectory = TrajectoryBuilder(problem, self.limits, seed, sample, self.thinking)
        writing = _GrowingAnswer(trajectory)
        finish = FinishReason.STEP_LIMIT
        try:
            yield from trajectory.begin(Role.TARGET)
            while finish is FinishReason.STEP_LIMIT and writing.room > 0:
                writing.close_thoughts()
                finish = yield from self._round(writing)
            self._cut(writing, finish)
            for step in trajectory.steps:
                yield from tell(step)
        except RsdError as error:
            if not trajectory.steps:
                self._cut(writing, FinishReason.STOP)
            return trajectory.fail(error)
        ended = finish is FinishReason.EOS
        return trajectory.end(FinishReason.EOS if ended else FinishReason.LENGTH)

    def _round(self, writing: _GrowingAnswer) -> Deciding[FinishReason]:
        """A proposal and its verification; `step_limit` if the answer goes on after it."""
        trajectory = writing.trajectory
        count = min(self.gamma, writing.room - 1)
        if not count:
            return (yield from self._target_alone(writing))
        asked = Propose(
            context=writing.context,
            count=count,
            sampling=self.sampling,
            seed=writing.seed_for("propose"),
            session=trajectory.session,
        )
        proposal = yield from propose(asked)
        trajectory.charge(Role.DRAFT, proposal)
        tokens = proposal.segment.tokens
        if proposal.finish_reason is FinishReason.LENGTH and not (tokens and tokens.ids):
            return (yield from self._target_alone(writing))
        verified = yield from verify(
            Verify(
                context=writing.context,
                proposal=proposal,
                sampling=self.sampling,
                seed=writing.seed_for("verify"),
                session=trajectory.session,
            )
        )
        trajectory.charge(Role.TARGET, verified)
        writing.add(verified.segment, verified.accepted + 1)
        return verified.finish_reason

    def _target_alone(self, writing: _GrowingAnswer) -> Deciding[FinishReason]:
        """The rest of the answer in one request."""
        trajectory = writing.trajectory
        request = Generate(
            role=Role.TARGET,
            context=writing.context,
            max_tokens=writing.room,
            boundary=WHOLE_ANSWER,
            sampling=self.sampling,
            seed=writing.seed_for("target"),
            session=trajectory.session,
        )
        [written] = yield from generate([request])
        trajectory.charge(Role.TARGET, written)
        writing.add(written.segment, written.usage.decoded_tokens)
        return written.finish_reason

    def _cut(self, writing: _GrowingAnswer, finish: FinishReason) -> None:
        parts = writing.trajectory.parts(writing.text, self.boundary)
        steps = steps_of(parts, Role.TARGET, finish, tokens=writing.written)
        writing.trajectory.steps.extend(steps)
