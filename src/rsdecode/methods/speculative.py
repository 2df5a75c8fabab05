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
from rsdecode.core.types import Context, FinishReason, Problem, Role, Segment
from rsdecode.methods.answers import steps_of
from rsdecode.methods.trajectory import Deciding, TrajectoryBuilder


@dataclass(slots=True)
class _GrowingAnswer:
    """An answer that grows by a few tokens at a time; it stays one segment."""

    trajectory: TrajectoryBuilder
    segment: Segment = field(default_factory=lambda: Segment(""))
    written: int = 0
    rounds: int = 0

    @property
    def context(self) -> Context:
        """The question and the answer so far."""
        context = self.trajectory.context
        return context.followed_by(self.segment) if self.rounds else context

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
        self.segment = _joined(self.segment, more) if self.rounds else more
        self.rounds += 1


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

    Raises:
        ValueError: gamma is not at least 1.
    """

    gamma: int = 5
    boundary: Boundary = PARAGRAPH
    limits: Limits = Limits()
    sampling: Sampling = Sampling()

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
        trajectory = TrajectoryBuilder(problem, self.limits, seed, sample)
        writing = _GrowingAnswer(trajectory)
        finish = FinishReason.STEP_LIMIT
        try:
            while finish is FinishReason.STEP_LIMIT and writing.room > 0:
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
        text = writing.segment.text
        steps = steps_of(text, Role.TARGET, self.boundary, finish, tokens=writing.written)
        writing.trajectory.steps.extend(steps)


def _joined(a: Segment, b: Segment) -> Segment:
    """Two segments of one vocabulary as one."""
    if a.tokens is None or b.tokens is None:
        return Segment(a.text + b.text)
    return Segment(a.text + b.text, replace(a.tokens, ids=a.tokens.ids + b.tokens.ids))
