"""Best of N whole answers by a process reward model (arXiv 2305.20050)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rsdecode.core.aggregate import aggregate, check_aggregation
from rsdecode.core.errors import RsdError
from rsdecode.core.limits import Limits
from rsdecode.core.requests import Decoding, Generated, Sampling, Score, score, tell
from rsdecode.core.segment import PARAGRAPH, Boundary
from rsdecode.core.types import Alternative, Problem, Role, Segment
from rsdecode.methods.answers import (
    SAMPLED,
    check_samples,
    draft_answers,
    is_answer,
    steps_of,
    stop_reason,
)
from rsdecode.methods.scoring import rewards_in
from rsdecode.methods.thinking import Part, Thinking
from rsdecode.methods.trajectory import Deciding, TrajectoryBuilder

Rewards = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class BestOfN:
    """The draft writes several answers; the reward model says which is taken.

    Every answer that ended by itself is cut into steps, which are scored in one request; the
    aggregation makes one score of their rewards. The highest wins, the first of equals. An answer
    without text has no steps and loses to any with. If none ended the trajectory is the first
    sample, with its stop reason.

    Attributes:
        samples: how many answers.
        aggregation: of the rewards of an answer's steps: last, min, product or mean.
        boundary: where a step ends.
        limits: `max_tokens` holds for each sample; there is no other limit.
        sampling: how the draft draws tokens.
        thinking: what is done with thoughts; where nobody judges them the answer alone is scored.

    Raises:
        ValueError: an unknown aggregation, or several samples of a greedy draft.
    """

    samples: int = 8
    aggregation: str = "last"
    boundary: Boundary = PARAGRAPH
    limits: Limits = Limits()
    sampling: Sampling = SAMPLED
    thinking: Thinking | None = None

    def __post_init__(self) -> None:
        check_samples(self.samples, self.sampling)
        check_aggregation(self.aggregation)

    @property
    def roles(self) -> frozenset[Role]:
        """The draft and the reward model."""
        return frozenset({Role.DRAFT, Role.REWARD})

    def __call__(self, problem: Problem, *, seed: int = 0, sample: int = 0) -> Decoding:
        """Decode one problem (see `Method`)."""
        trajectory = TrajectoryBuilder(problem, self.limits, seed, sample, self.thinking)
        try:
            written = yield from draft_answers(trajectory, self.samples, self.sampling)
            rewards = yield from self._rewards(trajectory, written)
            scores = [aggregate(self.aggregation, each) if each else None for each in rewards]
            chosen = _best(written, scores)
            trajectory.alternatives = tuple(
                Alternative(w.segment.text, stop_reason(w), score=score_)
                for i, (w, score_) in enumerate(zip(written, scores, strict=True))
                if i != chosen
            )
            best = written[chosen]
            parts, count = self._parts(trajectory, best), best.usage.decoded_tokens
            steps = steps_of(
                parts,
                Role.DRAFT,
                best.finish_reason,
                rewards[chosen],
                tokens=count,
                told=best.segment.told,
            )
            trajectory.steps.extend(steps)
            for step in trajectory.steps:
                yield from tell(step)
        except RsdError as error:
            return trajectory.fail(error)
        return trajectory.end(stop_reason(written[chosen]))

    def _rewards(
        self, trajectory: TrajectoryBuilder, written: Sequence[Generated]
    ) -> Deciding[list[Rewards]]:
        """The rewards of the steps of each answer; none for what is no answer."""
        asked: list[tuple[int, Score]] = []
        for place, answer in enumerate(written):
            if is_answer(answer) and answer.segment.text.strip():
                asked += [(place, each) for each in self._scores(trajectory, place, answer)]
        scored = yield from score([request for _, request in asked])
        trajectory.charge(Role.REWARD, *scored)
        rewards: list[Rewards] = [()] * len(written)
        for (place, request), reply in zip(asked, scored, strict=True):
            rewards[place] = (*rewards[place], *rewards_in(reply, len(request.steps)))
        return rewards

    def _scores(
        self, trajectory: TrajectoryBuilder, place: int, written: Generated
    ) -> Iterator[Score]:
        """The requests for one answer's rewards: of its thoughts, if they are judged, and of it."""
        parts, context = self._parts(trajectory, written), trajectory.context
        thoughts = tuple(Segment(part.text) for part in parts if part.thought)
        steps = tuple(Segment(part.text) for part in parts if not part.thought)
        session = trajectory.branch(place)
        if thoughts and (self.thinking is None or self.thinking.judged):
            yield Score(context, thoughts, session, thoughts=True)
        if not any(step.text.strip() for step in steps):
            return
        if thoughts and self.thinking is not None and self.thinking.alone:
            steps = (Segment(steps[0].text.lstrip()), *steps[1:])
        elif thoughts:
            context = context.followed_by(*thoughts)
        yield Score(context, steps, session, ends=True)

    def _parts(self, trajectory: TrajectoryBuilder, written: Generated) -> list[Part]:
        return trajectory.parts(written.segment.text, self.boundary)


def _best(written: Sequence[Generated], scores: Sequence[float | None]) -> int:
    """Place of the highest score; an answer without one still beats what did not end."""
    ranks = [
        (is_answer(w), -1.0 if score_ is None else score_)
        for w, score_ in zip(written, scores, strict=True)
    ]
    return ranks.index(max(ranks))
