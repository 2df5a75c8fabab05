"""Guided Speculative Inference (arXiv 2506.04118, Algorithm 1)."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from rsdecode.core.errors import ConfigError, RequestError
from rsdecode.core.limits import Limits
from rsdecode.core.protocols import LOGPROBS_HIDDEN, Models, ReadsDraft, TellsLogprobs
from rsdecode.core.requests import Assess, Decoding, Generated, Sampling, assess, generate
from rsdecode.core.segment import PARAGRAPH, Boundary
from rsdecode.core.types import Problem, Role, Step, Usage
from rsdecode.methods.answers import SAMPLED, check_samples
from rsdecode.methods.scoring import Candidate, proposals, score_candidates
from rsdecode.methods.thinking import Thinking
from rsdecode.methods.trajectory import Deciding, TrajectoryBuilder, unjudged

BETA = 20.0
THRESHOLD = 0.5
"""The paper's."""


@dataclass(frozen=True, slots=True)
class GSI:
    """Soft best of n of the draft under the tilted reward; of the target where that is too low.

    For each step, n candidates y_1 .. y_n are drawn from the draft S, and their tilted rewards are

        r~_i = r(y_i) + (1 / beta) (log P_T(y_i) - log P_S(y_i))

    with the target T. One candidate i is drawn with probability softmax(beta r~)_i, which
    approximates a draw from the target tilted by the reward, P_T(y) exp(beta r(y)). If r~_i reaches
    the threshold it is the step. Else n candidates are drawn from the target, and the step is one
    of them, drawn with probability softmax(beta r).

    P_S and P_T are the distributions from which both draw, temperature and nucleus included. Of a
    candidate that ends the answer they include that end; of one that was cut at a step's boundary
    they are those of its tokens, as if the tokens after the boundary were certain.

    A candidate that was cut (`step_limit`, `length`) has no reward and is never drawn; where no
    draft has one, the target writes, and where none of the target's has one, its first candidate
    enters. `Step.reward` is the reward of the step that entered.

    Attributes:
        candidates: n, of the draft and of the target.
        beta: how much the reward counts against likelihood; the larger, the nearer to best of n.
        threshold: of the tilted reward of an accepted step; it may be any number.
        boundary: where a step ends.
        limits: of the step and the answer.
        draft_sampling: how the draft draws tokens.
        target_sampling: how the target draws tokens.
        thinking: what is done with thoughts (see `methods.rsd`).

    Raises:
        ValueError: a model is greedy, or beta is not above 0.
    """

    candidates: int = 4
    beta: float = BETA
    threshold: float = THRESHOLD
    boundary: Boundary = PARAGRAPH
    limits: Limits = Limits()
    draft_sampling: Sampling = SAMPLED
    target_sampling: Sampling = SAMPLED
    thinking: Thinking | None = None

    def __post_init__(self) -> None:
        check_samples(self.candidates, self.draft_sampling)
        if not 0.0 < self.beta < math.inf:
            raise ValueError(f"beta {self.beta!r} must be a number above 0")
        if not math.isfinite(self.threshold):
            raise ValueError(f"threshold {self.threshold!r} must be a finite number")
        for role, sampling in (("draft", self.draft_sampling), ("target", self.target_sampling)):
            if sampling.temperature == 0.0:
                raise ValueError(
                    f"the likelihoods of a greedy {role} mean nothing: set its temperature above 0"
                )

    @property
    def roles(self) -> frozenset[Role]:
        """All three models."""
        return frozenset(Role)

    def check(self, models: Models) -> None:
        """Check the models, and have the draft keep its log-probabilities.

        Raises:
            ConfigError: the draft does not tell them, the target does not tell how likely it finds
                a text, or the reward model knows only steps of the draft.
        """
        draft = models.language_model(Role.DRAFT)
        if not isinstance(draft, TellsLogprobs):
            raise ConfigError(LOGPROBS_HIDDEN.format(role=Role.DRAFT))
        models.assessor()
        reward = models.reward_model()
        if isinstance(reward, ReadsDraft) and reward.reads_draft:
            raise ConfigError(
                "gsi has the target's steps scored too, of which the draft's confidence knows "
                "nothing: use another reward"
            )
        draft.tell_logprobs()

    def __call__(self, problem: Problem, *, seed: int = 0, sample: int = 0) -> Decoding:
        """Decode one problem (see `Method`)."""
        trajectory = TrajectoryBuilder(problem, self.limits, seed, sample, self.thinking)
        writers = (Role.DRAFT, Role.TARGET)
        return (yield from trajectory.write(lambda: self._next_step(trajectory), *writers))

    def _next_step(self, trajectory: TrajectoryBuilder) -> Deciding[Step]:
        """One round of the paper's Algorithm 1; a step that nobody judges is its writer's."""
        if trajectory.writer is Role.TARGET:
            return (yield from self._by_target(trajectory))
        count = trajectory.candidates(self.candidates)
        drafts = yield from self._candidates(trajectory, Role.DRAFT, count)
        owner = trajectory.owner(drafts[0].text)
        if owner is Role.TARGET:
            return (yield from self._by_target(trajectory))
        if owner is Role.DRAFT:
            return unjudged(drafts[0].draft, Role.DRAFT)
        rewards = yield from score_candidates(trajectory, drafts)
        tilts = yield from self._tilts(trajectory, drafts, rewards)
        tilted = [None if r is None else r + t for r, t in zip(rewards, tilts, strict=True)]
        chosen = self._drawn(tilted, trajectory.seed_for("draft index"))
        value = None if chosen is None else tilted[chosen]
        if chosen is not None and value is not None and value >= self.threshold:
            judged = Usage(accepted_tokens=_judged(drafts[chosen]))
            trajectory.ledger = trajectory.ledger.charge(Role.TARGET, judged)
            return self._step(drafts[chosen], Role.DRAFT, rewards[chosen], (drafts, rewards))
        targets = yield from self._candidates(trajectory, Role.TARGET, self.candidates)
        by_target = yield from score_candidates(trajectory, targets)
        own = self._drawn(by_target, trajectory.seed_for("target index")) or 0
        return self._step(targets[own], Role.TARGET, by_target[own], (drafts, rewards))

    def _by_target(self, trajectory: TrajectoryBuilder) -> Deciding[Step]:
        """A step that the target writes, whatever the draft would have written."""
        [target] = yield from self._candidates(trajectory, Role.TARGET, 1)
        return unjudged(target.draft, Role.TARGET)

    def _candidates(
        self, trajectory: TrajectoryBuilder, role: Role, count: int
    ) -> Deciding[list[Candidate]]:
        """Draw so many candidates, each with a prefix of its own."""
        sampling = self.draft_sampling if role is Role.DRAFT else self.target_sampling
        sessions = [trajectory.branch(place) for place in range(count)]
        written = yield from generate(
            [
                trajectory.next_step(role, self.boundary, sampling, place=place, session=session)
                for place, session in enumerate(sessions)
            ]
        )
        trajectory.charge(role, *written)
        pairs = zip(written, sessions, strict=True)
        return [Candidate(trajectory, reply, session) for reply, session in pairs]

    def _tilts(
        self,
        trajectory: TrajectoryBuilder,
        drafts: Sequence[Candidate],
        rewards: Sequence[float | None],
    ) -> Deciding[list[float]]:
        """(log P_T - log P_S) / beta of each candidate that has a reward; 0 for the others."""
        asked = [place for place, reward in enumerate(rewards) if reward is not None]
        replies = yield from assess(
            [
                Assess(
                    trajectory.context,
                    (drafts[place].draft.segment,),
                    self.target_sampling,
                    drafts[place].ends,
                    drafts[place].session,
                )
                for place in asked
            ]
        )
        trajectory.charge(Role.TARGET, *replies)
        tilts = [0.0] * len(drafts)
        for place, reply in zip(asked, replies, strict=True):
            tilts[place] = (reply.steps[0].total - _own(drafts[place].draft)) / self.beta
        return tilts

    def _drawn(self, values: Sequence[float | None], seed: int) -> int | None:
        """A place, drawn from softmax(beta values); None if there is nothing to draw."""
        known = [value for value in values if value is not None and value > -math.inf]
        if not known:
            return None
        best = max(known)
        weights = [0.0 if v is None else math.exp(self.beta * (v - best)) for v in values]
        return random.Random(seed).choices(range(len(values)), weights)[0]

    def _step(
        self,
        written: Candidate,
        role: Role,
        reward: float | None,
        drafted: tuple[Sequence[Candidate], Sequence[float | None]],
    ) -> Step:
        drafts, rewards = drafted
        accepted = role is Role.DRAFT
        place = next((i for i, draft in enumerate(drafts) if draft is written), None)
        return Step(
            segment=written.draft.segment,
            source=role,
            finish_reason=written.draft.finish_reason,
            reward=reward,
            weight=float(accepted),
            accepted=accepted,
            rejected=proposals(drafts, rewards, chosen=place),
            token_count=written.draft.token_count,
        )


def _judged(candidate: Candidate) -> int:
    """How many tokens of a candidate the target has judged."""
    return len(candidate.draft.segment.logprobs or ())


def _own(draft: Generated) -> float:
    """The draft's log-probability of what it wrote.

    Raises:
        RequestError: it was not told.
    """
    if draft.segment.logprobs is None:
        raise RequestError(
            "the draft has not told the log-probabilities of its step: have gsi check its models "
            "first (rsdecode.methods.require), or take another draft"
        )
    return math.fsum(draft.segment.logprobs)
