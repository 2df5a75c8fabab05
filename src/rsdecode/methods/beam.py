"""Beam search over steps, guided by a process reward model (arXiv 2408.03314, Section 5.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rsdecode.core.aggregate import aggregate, check_aggregation
from rsdecode.core.errors import RsdError
from rsdecode.core.limits import Limits
from rsdecode.core.requests import Decoding, Generate, Sampling, generate, tell
from rsdecode.core.segment import PARAGRAPH, Boundary
from rsdecode.core.types import Alternative, FinishReason, Problem, Role, Step
from rsdecode.methods.answers import SAMPLED, check_samples
from rsdecode.methods.scoring import Candidate, proposals, score_candidates
from rsdecode.methods.thinking import Thinking
from rsdecode.methods.trajectory import Deciding, TrajectoryBuilder


@dataclass(frozen=True, slots=True)
class _Beam:
    """An answer under way.

    Attributes:
        rewards: of its steps, where they were scored.
        stop_reason: why it is over; None while it goes on.
    """

    answer: TrajectoryBuilder
    rewards: tuple[float, ...] = ()
    stop_reason: FinishReason | None = None


@dataclass(frozen=True, slots=True)
class _Child:
    """A candidate for a beam's next step: it may become a beam, and takes its parent's place."""

    parent: _Beam
    candidate: Candidate
    reward: float | None

    @property
    def rewards(self) -> tuple[float, ...]:
        """Of the whole answer; an empty end and a cut step add nothing to the score."""
        if self.reward is None or self.candidate.empty:
            return self.parent.rewards
        return (*self.parent.rewards, self.reward)


@dataclass(frozen=True, slots=True)
class Beam:
    """The draft continues several answers side by side; the reward model says which go on.

    The first step is drawn width * expansions times, then each beam's next step `expansions` times.
    All continuations are scored, a whole answer's score being the aggregation of the rewards of its
    steps, and the best take the places that are free; of equals the first. Continuations of one
    beam with the same text count once, so that no two beams are the same. A beam that ends its
    answer keeps its place to the end. When no beam goes on, the answer with the highest score wins;
    one that did not end by itself only where none did.

    A candidate that was cut is not a step: it is not scored, and dropped. If all candidates of a
    beam were cut, or have nothing in them to score, the beam goes on with the first of them and
    keeps its score.

    Attributes:
        width: beams that are kept.
        expansions: continuations drawn of each beam.
        aggregation: of the rewards of a beam's steps: last, min, product or mean.
        boundary: where a step ends.
        limits: of the step and of each answer.
        sampling: how the draft draws tokens.
        thinking: what is done with thoughts; where nobody judges them, `width` beams think, each by
            itself.

    Raises:
        ValueError: an unknown aggregation, or several continuations of a greedy draft.
    """

    width: int = 4
    expansions: int = 4
    aggregation: str = "last"
    boundary: Boundary = PARAGRAPH
    limits: Limits = Limits()
    sampling: Sampling = SAMPLED
    thinking: Thinking | None = None

    def __post_init__(self) -> None:
        for name in ("width", "expansions"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)!r} must be at least 1")
        check_samples(self.width * self.expansions, self.sampling)
        check_aggregation(self.aggregation)

    @property
    def roles(self) -> frozenset[Role]:
        """The draft and the reward model."""
        return frozenset({Role.DRAFT, Role.REWARD})

    def __call__(self, problem: Problem, *, seed: int = 0, sample: int = 0) -> Decoding:
        """Decode one problem (see `Method`)."""
        trajectory = TrajectoryBuilder(problem, self.limits, seed, sample, self.thinking)
        beams = [_Beam(replace(trajectory, steps=[]))]
        try:
            yield from trajectory.begin(Role.DRAFT)
            beams = self._first_beams(trajectory)
            while any(beam.stop_reason is None for beam in beams):
                beams = yield from self._advance(trajectory, beams)
                trajectory.steps = self._best(beams).answer.steps
            best = self._best(beams)
            trajectory.alternatives = tuple(self._alternative(b) for b in beams if b is not best)
            for step in trajectory.steps:
                yield from tell(step)
        except RsdError as error:
            return trajectory.fail(error)
        return trajectory.end(best.stop_reason or FinishReason.MAX_STEPS)

    def _first_beams(self, trajectory: TrajectoryBuilder) -> list[_Beam]:
        """One, or as many as there are places where thoughts are written that nobody judges."""
        apart = self.width if trajectory.writer is Role.DRAFT else 1
        return [_Beam(replace(trajectory, steps=[])) for _ in range(apart)]

    def _advance(
        self, trajectory: TrajectoryBuilder, beams: Sequence[_Beam]
    ) -> Deciding[list[_Beam]]:
        """One more step of every beam that goes on; answers wait for beams that still think."""
        beams = [self._closed(beam) for beam in beams]
        going_on = [beam for beam in beams if beam.stop_reason is None]
        thinking = [beam for beam in going_on if beam.answer.writer is not None]
        active = set(map(id, thinking or going_on))
        over = [beam for beam in beams if id(beam) not in active]
        children = yield from self._children(trajectory, thinking or going_on)
        ranked = sorted(_eligible(children), key=self._score, reverse=True)
        kept = ranked[: self.width - len(over)]
        chosen = set(map(id, kept))
        dropped = [child for child in children if id(child) not in chosen]
        return [*over, *(self._beam(child, dropped) for child in kept)]

    def _children(
        self, trajectory: TrajectoryBuilder, beams: Sequence[_Beam]
    ) -> Deciding[list[_Child]]:
        """The distinct candidates of all beams, with their rewards."""
        parents = [beam for beam in beams for _ in range(self._expansions(beam, len(beams)))]
        drafts = yield from generate(
            [self._draft(beam.answer, place) for place, beam in enumerate(parents)]
        )
        trajectory.charge(Role.DRAFT, *drafts)
        distinct: dict[tuple[int, str, FinishReason], tuple[_Beam, Candidate]] = {}
        for place, (beam, draft) in enumerate(zip(parents, drafts, strict=True)):
            candidate = Candidate(beam.answer, draft, beam.answer.branch(place))
            key = (id(beam), candidate.text, draft.finish_reason)
            distinct.setdefault(key, (beam, candidate))
        judged = [c for _, c in distinct.values() if c.answer.owner(c.text) is None]
        scored = yield from score_candidates(trajectory, judged)
        by_place = dict(zip(map(id, judged), scored, strict=True))
        rewards = [by_place.get(id(c)) for _, c in distinct.values()]
        return [
            _Child(beam, candidate, reward)
            for (beam, candidate), reward in zip(distinct.values(), rewards, strict=True)
        ]

    def _expansions(self, beam: _Beam, beams: int) -> int:
        """How many continuations of a beam are drawn; the first step has all of them."""
        if beam.answer.writer is not None:
            return 1
        first = not beam.answer.steps and beams == 1
        return self.width * self.expansions if first else self.expansions

    def _closed(self, beam: _Beam) -> _Beam:
        """The beam, its thoughts ended if they have been long enough."""
        if beam.stop_reason is None and (step := beam.answer.closing_step()) is not None:
            beam = replace(beam, answer=replace(beam.answer, steps=[*beam.answer.steps]))
            beam.answer.enter(step)
        return beam

    def _draft(self, answer: TrajectoryBuilder, place: int) -> Generate:
        session = answer.branch(place)
        return answer.next_step(
            Role.DRAFT, self.boundary, self.sampling, place=place, session=session
        )

    def _beam(self, child: _Child, dropped: Sequence[_Child]) -> _Beam:
        """The beam that a chosen candidate makes."""
        draft = child.candidate.draft
        siblings = [other for other in dropped if other.parent is child.parent]
        step = Step(
            segment=draft.segment,
            source=Role.DRAFT,
            finish_reason=draft.finish_reason,
            reward=child.reward,
            accepted=True,
            rejected=proposals([o.candidate for o in siblings], [o.reward for o in siblings]),
            token_count=draft.token_count,
        )
        answer = replace(child.parent.answer, steps=[*child.parent.answer.steps])
        step = answer.enter(step)
        reason = answer.stop_after(step)
        if reason is None and len(answer.steps) >= self.limits.max_steps:
            reason = FinishReason.MAX_STEPS
        return _Beam(answer, child.rewards, reason)

    def _score(self, beam: _Beam | _Child) -> float:
        """The aggregated reward; below all others where nothing was scored."""
        return aggregate(self.aggregation, beam.rewards) if beam.rewards else -1.0

    def _best(self, beams: Sequence[_Beam]) -> _Beam:
        return max(beams, key=lambda b: (b.stop_reason is FinishReason.EOS, self._score(b)))

    def _alternative(self, beam: _Beam) -> Alternative:
        text = "".join(step.text for step in beam.answer.steps)
        reason = beam.stop_reason or FinishReason.MAX_STEPS
        return Alternative(text, reason, score=self._score(beam) if beam.rewards else None)


def _eligible(children: Sequence[_Child]) -> list[_Child]:
    """All scored candidates; of a beam that has none, the first of the others."""
    scored = [child for child in children if child.reward is not None]
    going_on = {id(child.parent) for child in scored}
    unscored: dict[int, _Child] = {}
    for child in children:
        if id(child.parent) not in going_on:
            unscored.setdefault(id(child.parent), child)
    return [*scored, *unscored.values()]
