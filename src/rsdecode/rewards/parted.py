"""Two judges: one of an answer's steps, one of the thoughts before it."""

from __future__ import annotations

from collections.abc import Sequence

from rsdecode.core.cost import ModelShape
from rsdecode.core.protocols import Caching, Closeable, Noted, ReadsDraft, RewardModel, Sized
from rsdecode.core.requests import Failed, Score, Scored


class PartedReward:
    """Has thoughts scored by one reward model and answers by another.

    Args:
        answers: scores the steps of answers.
        thoughts: scores the steps of thoughts.
    """

    def __init__(self, answers: RewardModel, thoughts: RewardModel) -> None:
        self._answers, self._thoughts = answers, thoughts

    @property
    def parts(self) -> tuple[RewardModel, RewardModel]:
        """The judge of answers, and that of thoughts."""
        return self._answers, self._thoughts

    @property
    def reads_draft(self) -> bool:
        """Whether one of them needs steps as the draft wrote them."""
        return any(isinstance(part, ReadsDraft) and part.reads_draft for part in self.parts)

    @property
    def shape(self) -> ModelShape | None:
        """That of the one that computes; None where it is not known or they differ."""
        shapes = [part.shape for part in self.parts if isinstance(part, Sized)]
        return shapes[0] if shapes and all(shape == shapes[0] for shape in shapes) else None

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of results must know of both."""
        told = (part.notes for part in self.parts if isinstance(part, Noted))
        return tuple(note for notes in told for note in notes)

    def describe(self) -> dict[str, str]:
        """What `rsd doctor` prints."""
        facts: dict[str, str] = {}
        for name, part in zip(("", "thoughts "), self.parts, strict=True):
            describe = getattr(part, "describe", dict[str, str])
            facts |= {f"{name}{key}": str(value) for key, value in describe().items()}
        return facts

    def end(self, session: str) -> None:
        """A session is over."""
        for part in self.parts:
            if isinstance(part, Caching):
                part.end(session)

    def clear(self) -> None:
        """Empty the caches, between two runs."""
        for part in self.parts:
            if isinstance(part, Caching):
                part.clear()

    def close(self) -> None:
        """Close both; safe to call twice."""
        for part in self.parts:
            if isinstance(part, Closeable):
                part.close()

    async def score(self, requests: Sequence[Score]) -> list[Scored | Failed]:
        """Score all requests, those of each judge in one batch; replies in their order."""
        replies: dict[int, Scored | Failed] = {}
        for thoughts, judge in ((False, self._answers), (True, self._thoughts)):
            places = [i for i, request in enumerate(requests) if request.thoughts is thoughts]
            if places:
                scored = await judge.score([requests[i] for i in places])
                replies |= dict(zip(places, scored, strict=True))
        return [replies[place] for place in range(len(requests))]
