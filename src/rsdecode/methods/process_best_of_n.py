"""The best of N candidates at every step, by a process reward model."""

from __future__ import annotations

from dataclasses import dataclass

from rsdecode.core.limits import Limits
from rsdecode.core.requests import Decoding, Sampling, generate
from rsdecode.core.segment import PARAGRAPH, Boundary
from rsdecode.core.types import Problem, Role, Step
from rsdecode.methods.answers import SAMPLED, check_samples
from rsdecode.methods.scoring import Candidate, highest, proposals, score_candidates
from rsdecode.methods.thinking import Thinking
from rsdecode.methods.trajectory import Deciding, TrajectoryBuilder, unjudged


@dataclass(frozen=True, slots=True)
class ProcessBestOfN:
    """The draft proposes several candidates for each step; the best by reward enters. No target.

    A candidate that was cut (`step_limit`, `length`) is not a step: it is not scored and loses to
    any that was. An empty candidate that ends the answer inherits the reward of the step before it.
    Where no candidate has a reward the first one enters without: there is nobody else to write. A
    step that was cut at its cap is then continued by the next one.

    Attributes:
        candidates: draft proposals per step; the first of equals wins.
        boundary: where a step ends.
        limits: of the step and the answer.
        sampling: how the draft draws tokens.
        thinking: what is done with thoughts; where nobody judges them there is one candidate.

    Raises:
        ValueError: several candidates of a greedy draft, which would all be the same.
    """

    candidates: int = 4
    boundary: Boundary = PARAGRAPH
    limits: Limits = Limits()
    sampling: Sampling = SAMPLED
    thinking: Thinking | None = None

    def __post_init__(self) -> None:
        check_samples(self.candidates, self.sampling)

    @property
    def roles(self) -> frozenset[Role]:
        """The draft and the reward model."""
        return frozenset({Role.DRAFT, Role.REWARD})

    def __call__(self, problem: Problem, *, seed: int = 0, sample: int = 0) -> Decoding:
        """Decode one problem (see `Method`)."""
        trajectory = TrajectoryBuilder(problem, self.limits, seed, sample, self.thinking)
        write = trajectory.write(lambda: self._next_step(trajectory), Role.DRAFT)
        return (yield from write)

    def _next_step(self, trajectory: TrajectoryBuilder) -> Deciding[Step]:
        """The best of the candidates, or the first where it needs no judge."""
        drafts = yield from generate(
            [
                trajectory.next_step(
                    Role.DRAFT, self.boundary, self.sampling, place=i, session=trajectory.branch(i)
                )
                for i in range(trajectory.candidates(self.candidates))
            ]
        )
        trajectory.charge(Role.DRAFT, *drafts)
        if trajectory.owner(drafts[0].segment.text) is Role.DRAFT:
            return unjudged(drafts[0], Role.DRAFT)
        candidates = [Candidate(trajectory, d, trajectory.branch(i)) for i, d in enumerate(drafts)]
        rewards = yield from score_candidates(trajectory, candidates)
        best = highest(rewards)
        return Step(
            segment=drafts[best].segment,
            source=Role.DRAFT,
            finish_reason=drafts[best].finish_reason,
            reward=rewards[best],
            accepted=True,
            rejected=proposals(candidates, rewards, chosen=best),
            token_count=drafts[best].token_count,
        )
