"""Whole answers whose thoughts have a budget: first these, closed if need be, then the answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from rsdecode.core.requests import Generate, Generated, generate
from rsdecode.core.seeds import derive_seed
from rsdecode.core.segment import WHOLE_ANSWER
from rsdecode.core.types import FinishReason, Segment, Tokens, Usage
from rsdecode.methods.trajectory import Deciding, TrajectoryBuilder, unjudged

AfterThoughts = Callable[[Generated], Deciding[None]]


@dataclass(slots=True)
class _Answer:
    """One answer, of which thoughts and answer are two requests.

    Attributes:
        request: as it would be without a budget.
        growing: what has been written.
    """

    request: Generate
    growing: TrajectoryBuilder
    usage: Usage = Usage()
    finish: FinishReason = FinishReason.STEP_LIMIT

    @property
    def goes_on(self) -> bool:
        """Whether it has no end yet, and room."""
        over = self.finish in (FinishReason.EOS, FinishReason.LENGTH)
        return not over and self.growing.room > 0

    @property
    def has_thought(self) -> bool:
        """Whether all that there is of it is thoughts."""
        steps = self.growing.steps
        return bool(steps) and all(step.thought for step in steps)

    def next(self, *, thoughts: bool) -> Generate:
        """The request for its thoughts, or for what follows them."""
        progress, room = self.growing.progress, self.growing.room
        assert progress is not None
        if thoughts and (left := progress.left) is not None:
            room = min(room, max(left, 1))
        whole = progress.boundary(WHOLE_ANSWER, whole=True)
        return replace(
            self.request,
            context=self.growing.context_of(self.request.role),
            max_tokens=room,
            boundary=whole if thoughts else WHOLE_ANSWER,
            seed=self.request.seed if thoughts else derive_seed(self.request.seed, "answer"),
        )

    def take(self, written: Generated) -> None:
        """Add what was written."""
        self.usage += written.usage
        self.finish = written.finish_reason
        self.growing.enter(unjudged(written, self.request.role))

    def close(self) -> None:
        """End the thoughts, if they are to end now."""
        if self.goes_on and (step := self.growing.closing_step()) is not None:
            self.growing.enter(step)

    @property
    def whole(self) -> Generated:
        """All of it as one reply."""
        return Generated(
            joined([step.segment for step in self.growing.steps]), self.finish, self.usage
        )


def within_budget(
    trajectory: TrajectoryBuilder,
    requests: Sequence[Generate],
    after_thoughts: AfterThoughts | None = None,
) -> Deciding[list[Generated]]:
    """Serve requests for whole answers; each reply is what two requests wrote, and cost.

    Args:
        trajectory: whose thoughts have a budget.
        requests: of whole answers.
        after_thoughts: is given the thoughts of each answer that goes on after them.
    """
    answers = [_Answer(request, replace(trajectory, steps=[])) for request in requests]
    for thoughts in (True, False):
        for answer in answers:
            answer.close()
        active = [a for a in answers if a.goes_on and not (thoughts and a.growing.steps)]
        for answer in () if thoughts else active:
            if after_thoughts is not None and answer.has_thought:
                yield from after_thoughts(answer.whole)
        replies = yield from generate([answer.next(thoughts=thoughts) for answer in active])
        for answer, written in zip(active, replies, strict=True):
            answer.take(written)
    return [answer.whole for answer in answers]


def joined(segments: Sequence[Segment]) -> Segment:
    """Segments as one; its token ids are known where those of all are, in one vocabulary."""
    text = "".join(segment.text for segment in segments)
    tokens = [segment.tokens for segment in segments]
    vocabularies = {t.vocabulary for t in tokens if t is not None}
    if None in tokens or len(vocabularies) != 1:
        return Segment(text)
    ids = tuple(i for t in tokens if t is not None for i in t.ids)
    return Segment(text, Tokens(vocabularies.pop(), ids))
