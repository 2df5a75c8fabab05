"""Reward-Guided Speculative Decoding (paper, Algorithm 1)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from rsdecode.core.acceptance import accept
from rsdecode.core.budget import Budget
from rsdecode.core.errors import RequestError, RewardError, RsdError
from rsdecode.core.limits import Limits
from rsdecode.core.requests import (
    Decoding,
    Drop,
    Generate,
    Generated,
    Sampling,
    Score,
    Scored,
    Start,
    generate,
    score,
    tell,
)
from rsdecode.core.segment import PARAGRAPH, Boundary
from rsdecode.core.types import FinishReason, Problem, Proposal, Role, Step
from rsdecode.core.weighting import BinaryStep, Weighting
from rsdecode.methods.record import Deciding, Record


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

    Attributes:
        weighting: reward to probability of acceptance.
        budget: if given, replaces `weighting` by a threshold that keeps to a share of target calls.
        candidates: draft proposals per step; the best one is held against the weighting.
        lookahead: draft steps that are begun before the present one is decided on: 0 or 1.
        boundary: where a step ends.
        limits: of the step and the answer.
        draft_sampling: how the draft draws tokens.
        target_sampling: how the target draws tokens.

    Raises:
        ValueError: several candidates of a greedy draft, which would all be the same; or several
            with lookahead, which would not know which of them to continue.
    """

    weighting: Weighting = BinaryStep()
    budget: Budget | None = None
    candidates: int = 1
    lookahead: int = 0
    boundary: Boundary = PARAGRAPH
    limits: Limits = Limits()
    draft_sampling: Sampling = Sampling()
    target_sampling: Sampling = Sampling()

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

    def __call__(self, problem: Problem, *, seed: int = 0, sample: int = 0) -> Decoding:
        """Decode one problem (see `Method`)."""
        record = Record(problem, self.limits, seed, sample)
        budget = self.budget
        try:
            while len(record.steps) < self.limits.max_steps:
                step = yield from self._next_step(record, budget or self.weighting)
                record.steps.append(step)
                yield from tell(step)
                if budget is not None:
                    budget = budget.after(target_called=not step.accepted)
                if reason := record.stop_after(step):
                    return record.end(reason)
            return record.end(FinishReason.MAX_STEPS)
        except RsdError as error:
            return record.fail(error)

    def _next_step(self, record: Record, weighting: Weighting) -> Deciding[Step]:
        """One round of Algorithm 1."""
        drafts = yield from generate([self._draft(record, i) for i in range(self.candidates)])
        record.charge(Role.DRAFT, *drafts)
        ahead = self._ahead(record, drafts[0])
        verdicts = yield from _score_drafts(record, drafts, [Start(next_) for next_ in ahead])

        best = max(verdicts, key=lambda v: -1.0 if v.reward is None else v.reward)
        weight = 0.0 if best.reward is None else weighting(best.reward)
        accepted = _accept(weight, record.seed_for("accept"))
        if accepted:
            written = best.draft
        else:
            dropped = [Drop(next_) for next_ in ahead]
            [written] = yield from generate([self._target(record)], dropped)
            record.charge(Role.TARGET, written)
        return Step(
            segment=written.segment,
            source=Role.DRAFT if accepted else Role.TARGET,
            finish_reason=written.finish_reason,
            reward=best.reward,
            weight=weight,
            accepted=accepted,
            rejected=tuple(v.as_proposal() for v in verdicts if not (accepted and v is best)),
            token_count=written.token_count,
        )

    def _ahead(self, record: Record, draft: Generated) -> list[Generate]:
        """The request after `draft`, should it be accepted; none if it is not sure to be scored.

        It equals the one that the next round makes, which is how that round gets its reply.
        """
        if not self.lookahead or draft.finish_reason is not FinishReason.STOP:
            return []
        if not draft.segment.text.strip():
            return []
        step = Step(draft.segment, Role.DRAFT, draft.finish_reason, token_count=draft.token_count)
        next_record = replace(record, steps=[*record.steps, step])
        if len(next_record.steps) >= self.limits.max_steps or next_record.room <= 0:
            return []
        return [self._draft(next_record, 0)]

    def _draft(self, record: Record, candidate: int) -> Generate:
        request = self._request(record, Role.DRAFT, self.draft_sampling)
        return replace(request, seed=record.seed_for("draft", candidate))

    def _target(self, record: Record) -> Generate:
        request = self._request(record, Role.TARGET, self.target_sampling)
        return replace(request, seed=record.seed_for("target"))

    def _request(self, record: Record, role: Role, sampling: Sampling) -> Generate:
        return Generate(
            role=role,
            context=record.context,
            max_tokens=min(self.limits.max_step_tokens, record.room),
            boundary=self.boundary,
            sampling=sampling,
            session=record.session,
        )


def _accept(weight: float, seed: int) -> bool:
    """A weighting function's mistake ends the problem at hand, not the run."""
    try:
        return accept(weight, seed)
    except ValueError as error:
        raise RequestError(str(error)) from error


class _Verdict(NamedTuple):
    """A draft step with its reward; None when there was nothing to score."""

    draft: Generated
    reward: float | None

    def as_proposal(self) -> Proposal:
        draft = self.draft
        return Proposal(draft.segment.text, self.reward, draft.finish_reason, draft.token_count)


def _score_drafts(
    record: Record, drafts: Sequence[Generated], started: Sequence[Start]
) -> Deciding[list[_Verdict]]:
    """Have the reward model score every draft that is a whole step with something in it."""
    whole = [d for d in drafts if d.finish_reason in (FinishReason.STOP, FinishReason.EOS)]
    scorable = [draft for draft in whole if draft.segment.text.strip()]
    context, session = record.context, record.session
    asked = [Score(context, (d.segment,), session) for d in scorable]
    scored = yield from score(asked, started)
    record.charge(Role.REWARD, *scored)
    rewards = {id(d): _only_reward(s) for d, s in zip(scorable, scored, strict=True)}
    inherited = record.steps[-1].reward if record.steps else None
    empty = {id(draft): inherited for draft in whole if id(draft) not in rewards}
    return [_Verdict(draft, (rewards | empty).get(id(draft))) for draft in drafts]


def _only_reward(scored: Scored) -> float:
    """The reward of the one step asked about."""
    if len(scored.rewards) != 1:
        raise RewardError(
            f"the reward model returned {len(scored.rewards)} rewards for one step: "
            "repair the model or function given as --reward"
        )
    return valid_reward(scored.rewards[0])


def valid_reward(reward: float) -> float:
    """The reward itself.

    Raises:
        RewardError: it is not a finite number in [0, 1].
    """
    if not (math.isfinite(reward) and 0.0 <= reward <= 1.0):
        raise RewardError(
            f"the reward model returned {reward!r}: a reward must be a finite number in [0, 1]; "
            "scale or repair the scores of the model or function given as --reward"
        )
    return reward
