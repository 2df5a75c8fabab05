"""Reward-Guided Speculative Decoding (paper, Algorithm 1)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from rsdecode.core.acceptance import accept
from rsdecode.core.budget import Budget
from rsdecode.core.errors import RsdError
from rsdecode.core.limits import Limits
from rsdecode.core.protocols import Models
from rsdecode.core.requests import (
    Decoding,
    Drop,
    Generate,
    Sampling,
    Start,
    generate,
    tell,
)
from rsdecode.core.segment import PARAGRAPH, Boundary
from rsdecode.core.types import FinishReason, Problem, Role, Step
from rsdecode.core.weighting import BinaryStep, Weighting, weight_of
from rsdecode.methods.fallback import Fallback
from rsdecode.methods.scoring import Candidate, highest, proposals, score_candidates
from rsdecode.methods.thinking import Thinking
from rsdecode.methods.trajectory import Deciding, TrajectoryBuilder, unjudged


@dataclass(frozen=True, slots=True)
class RSD:
    """The draft proposes a step, the reward model scores it, the target writes what is rejected.

    The law of one step is the mixture P_RSD(y|z) = w(r(y|z)) P_m(y|z) + nu(z) P_M(y|z) with
    nu(z) = 1 - E_{y~P_m}[w(r(y|z))] (paper, Section 3).

    A draft step that was cut (`step_limit`, `length`) is not a step: it is rejected without being
    scored. An empty draft step that ends the answer has nothing to score: it inherits the reward of
    the step before it, and is rejected where there is none.

    With `lookahead` the draft goes on to its next step while the present one is being scored; if
    that is rejected, what was written ahead is dropped. A request depends on the steps before it
    and on its place alone, so the answers are the same with and without.

    With a `fallback` other than "decode" the target reads in one pass what it may turn out to
    write, and keeps what it would have written itself. The answers are the same too.

    Attributes:
        weighting: reward to probability of acceptance.
        budget: if given, replaces `weighting` by a threshold that keeps to a share of target calls.
        candidates: draft proposals per step; the best one is held against the weighting.
        lookahead: draft steps that are begun before the present one is decided on: 0 or 1.
        fallback: how the target writes in place of what is rejected.
        boundary: where a step ends.
        limits: of the step and the answer.
        draft_sampling: how the draft draws tokens.
        target_sampling: how the target draws tokens.
        thinking: what is done with thoughts: who writes them, unless the reward decides, and when
            they end; None for steps like any others.

    Raises:
        ValueError: several candidates of a greedy draft, which would all be the same; or several
            with lookahead, which would not know which of them to continue.
    """

    weighting: Weighting = BinaryStep()
    budget: Budget | None = None
    candidates: int = 1
    lookahead: int = 0
    fallback: Fallback = Fallback()
    boundary: Boundary = PARAGRAPH
    limits: Limits = Limits()
    draft_sampling: Sampling = Sampling()
    target_sampling: Sampling = Sampling()
    thinking: Thinking | None = None

    def __post_init__(self) -> None:
        if self.candidates < 1:
            raise ValueError(f"candidates {self.candidates!r} must be at least 1")
        if self.candidates > 1 and self.draft_sampling.temperature == 0.0:
            raise ValueError(
                f"candidates {self.candidates} of a greedy draft are all the same: "
                "set the draft's temperature above 0"
            )
        if self.lookahead not in (0, 1):
            raise ValueError(f"lookahead {self.lookahead!r} must be 0 or 1")
        if self.lookahead and self.candidates > 1:
            raise ValueError(
                f"lookahead continues the one draft step that is being scored: it conflicts with "
                f"{self.candidates} candidates; set lookahead to 0 or candidates to 1"
            )

    @property
    def roles(self) -> frozenset[Role]:
        """All three models."""
        return frozenset(Role)

    def check(self, models: Models) -> None:
        """Check that draft and target can read each other's tokens, where they are to.

        Raises:
            ConfigError: they cannot.
        """
        self.fallback.check(models)

    def __call__(self, problem: Problem, *, seed: int = 0, sample: int = 0) -> Decoding:
        """Decode one problem (see `Method`)."""
        trajectory = TrajectoryBuilder(problem, self.limits, seed, sample, self.thinking)
        budget = self.budget
        try:
            yield from trajectory.begin(Role.DRAFT, Role.TARGET)
            while len(trajectory.steps) < self.limits.max_steps:
                step = trajectory.closing_step()
                step = step or (yield from self._next_step(trajectory, budget or self.weighting))
                step = trajectory.enter(step)
                yield from tell(step)
                if budget is not None and step.weight is not None and not self._has_own_rule(step):
                    budget = budget.after(target_called=not step.accepted)
                if reason := trajectory.stop_after(step):
                    return trajectory.end(reason)
            return trajectory.end(FinishReason.MAX_STEPS)
        except RsdError as error:
            return trajectory.fail(error)

    def _next_step(self, trajectory: TrajectoryBuilder, weighting: Weighting) -> Deciding[Step]:
        """One round of Algorithm 1; a step that nobody judges is its writer's."""
        if trajectory.writer is Role.TARGET:
            return (yield from self._by_target(trajectory))
        count = trajectory.candidates(self.candidates)
        drafts = yield from generate([self._draft(trajectory, i) for i in range(count)])
        trajectory.charge(Role.DRAFT, *drafts)
        owner = trajectory.owner(drafts[0].segment.text)
        if owner is Role.TARGET:
            return (yield from self._by_target(trajectory))
        if owner is Role.DRAFT:
            return unjudged(drafts[0], Role.DRAFT)
        candidates = [Candidate(trajectory, draft, trajectory.session) for draft in drafts]
        ahead = self._ahead(trajectory, candidates[0])
        rewards = yield from score_candidates(
            trajectory, candidates, [Start(next_) for next_ in ahead]
        )

        best = highest(rewards)
        reward = rewards[best]
        if (own := trajectory.thoughts_weighting(drafts[best].segment.text)) is not None:
            weighting = own
        weight = 0.0 if reward is None else weight_of(weighting, reward)
        accepted = accept(weight, trajectory.seed_for("accept"))
        if accepted:
            written = drafts[best]
        else:
            dropped = [Drop(next_) for next_ in ahead]
            request, rejected = self._target(trajectory), drafts[best].segment
            written = yield from self.fallback.write(trajectory, request, rejected, dropped)
        return Step(
            segment=written.segment,
            source=Role.DRAFT if accepted else Role.TARGET,
            finish_reason=written.finish_reason,
            reward=reward,
            weight=weight,
            accepted=accepted,
            rejected=proposals(candidates, rewards, chosen=best if accepted else None),
            token_count=written.token_count,
        )

    def _has_own_rule(self, step: Step) -> bool:
        """Whether the budget of target calls has nothing to do with a step."""
        return step.thought and self.thinking is not None and self.thinking.threshold is not None

    def _by_target(self, trajectory: TrajectoryBuilder) -> Deciding[Step]:
        """A step that the target writes, whatever the draft would have written."""
        [written] = yield from generate([self._target(trajectory)])
        trajectory.charge(Role.TARGET, written)
        return unjudged(written, Role.TARGET)

    def _ahead(self, trajectory: TrajectoryBuilder, candidate: Candidate) -> list[Generate]:
        """The request after `candidate`, should it enter; none if that is not sure to be scored.

        It equals the one that the next round makes, which is how that round gets its reply.
        """
        draft = candidate.draft
        if not self.lookahead or candidate.empty or draft.finish_reason is not FinishReason.STOP:
            return []
        extended = replace(trajectory, steps=[*trajectory.steps])
        extended.enter(unjudged(draft, Role.DRAFT))
        if len(extended.steps) >= self.limits.max_steps or extended.room <= 0:
            return []
        if extended.closing_step() or extended.writer is Role.TARGET:
            return []
        return [self._draft(extended, 0)]

    def _draft(self, trajectory: TrajectoryBuilder, candidate: int) -> Generate:
        return trajectory.next_step(Role.DRAFT, self.boundary, self.draft_sampling, place=candidate)

    def _target(self, trajectory: TrajectoryBuilder) -> Generate:
        return trajectory.next_step(Role.TARGET, self.boundary, self.target_sampling)
