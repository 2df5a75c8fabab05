"""Majority voting over whole answers (self-consistency, arXiv 2203.11171)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rsdecode.core.answer import extract_answer
from rsdecode.core.errors import RsdError
from rsdecode.core.limits import Limits
from rsdecode.core.requests import Decoding, Generated, Sampling, tell
from rsdecode.core.segment import PARAGRAPH, Boundary
from rsdecode.core.thoughts import THOUGHTS, Thoughts
from rsdecode.core.types import Alternative, Problem, Role
from rsdecode.core.votes import tally
from rsdecode.methods.answers import (
    SAMPLED,
    check_samples,
    draft_answers,
    is_answer,
    steps_of,
    stop_reason,
)
from rsdecode.methods.thinking import Thinking
from rsdecode.methods.trajectory import TrajectoryBuilder


@dataclass(frozen=True, slots=True)
class Majority:
    """The draft writes several answers; the one that most of them agree on is taken.

    A sample votes with the final answer that is found in it, if it ended by itself. Of answers with
    equally many votes the one that came first wins, and its first sample is the trajectory. If none
    votes it is the first sample that ended; if none ended the first, with its stop reason.

    Attributes:
        samples: how many answers.
        boundary: where a step ends, for reading.
        limits: `max_tokens` holds for each sample; there is no other limit.
        sampling: how the draft draws tokens.
        thoughts: the marks that its thoughts end with; the answer is looked for after them.
        thinking: what is done with thoughts: their budget.

    Raises:
        ValueError: several samples of a greedy draft, which would all be the same.
    """

    samples: int = 8
    boundary: Boundary = PARAGRAPH
    limits: Limits = Limits()
    sampling: Sampling = SAMPLED
    thoughts: Thoughts = THOUGHTS
    thinking: Thinking | None = None

    def __post_init__(self) -> None:
        check_samples(self.samples, self.sampling)

    @property
    def roles(self) -> frozenset[Role]:
        """The draft."""
        return frozenset({Role.DRAFT})

    def __call__(self, problem: Problem, *, seed: int = 0, sample: int = 0) -> Decoding:
        """Decode one problem (see `Method`)."""
        trajectory = TrajectoryBuilder(problem, self.limits, seed, sample, self.thinking)
        try:
            written = yield from draft_answers(trajectory, self.samples, self.sampling)
            progress = trajectory.progress
            marks = self.thoughts if progress is None else progress.found
            answers = [
                extract_answer(w.segment.text, marks) if is_answer(w) else None for w in written
            ]
            votes = tally(answers)
            chosen = _winner(written, votes)
            trajectory.alternatives = tuple(
                Alternative(w.segment.text, stop_reason(w), answer, vote)
                for w, answer, vote in zip(written, answers, votes, strict=True)
                if w is not chosen
            )
            parts = trajectory.parts(chosen.segment.text, self.boundary)
            count = chosen.usage.decoded_tokens
            finish, told = chosen.finish_reason, chosen.segment.told
            steps = steps_of(parts, Role.DRAFT, finish, tokens=count, told=told)
            trajectory.steps.extend(steps)
            for step in trajectory.steps:
                yield from tell(step)
        except RsdError as error:
            return trajectory.fail(error)
        return trajectory.end(stop_reason(chosen))


def _winner(written: Sequence[Generated], votes: Sequence[int | None]) -> Generated:
    """The first sample with the most votes; one that ended before one that did not."""
    ranks = [(is_answer(w), vote or 0) for w, vote in zip(written, votes, strict=True)]
    return written[ranks.index(max(ranks))]
