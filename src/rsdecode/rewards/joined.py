"""What rewards that are made of two others have in common."""

from __future__ import annotations

from rsdecode.core.cost import ModelShape
from rsdecode.core.protocols import Caching, Closeable, Noted, ReadsDraft, RewardModel, Sized


class JoinedReward:
    """Two reward models as one: their sizes, notes, caches and ends.

    Args:
        first: the one that is named first.
        second: the other.
        kind: of both together, for messages.
    """

    def __init__(self, first: RewardModel, second: RewardModel, kind: str) -> None:
        self._parts, self._kind = (first, second), kind

    @property
    def parts(self) -> tuple[RewardModel, RewardModel]:
        """The two, in their order."""
        return self._parts

    @property
    def reads_draft(self) -> bool:
        """Whether one of them needs steps as the draft wrote them."""
        return any(isinstance(part, ReadsDraft) and part.reads_draft for part in self._parts)

    @property
    def shape(self) -> ModelShape | None:
        """That of the one that computes, or of both; None where it is not known or they differ."""
        shapes = [part.shape for part in self._parts if isinstance(part, Sized)]
        return shapes[0] if shapes and all(shape == shapes[0] for shape in shapes) else None

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of results must know of both."""
        own: tuple[str, ...] = ()
        if self.shape is None and any(isinstance(part, Sized) for part in self._parts):
            unlike = "two models are of different or unknown size: FLOPs are not told"
            own = (f"the {self._kind}'s {unlike}",)
        told = (part.notes for part in self._parts if isinstance(part, Noted))
        return (*own, *(note for notes in told for note in notes))

    def describe_parts(self, *prefixes: str) -> dict[str, str]:
        """What `rsd doctor` prints of each, its names behind a prefix."""
        facts: dict[str, str] = {}
        for prefix, part in zip(prefixes, self._parts, strict=True):
            describe = getattr(part, "describe", dict[str, str])
            facts |= {f"{prefix}{key}": str(value) for key, value in describe().items()}
        return facts

    def end(self, session: str) -> None:
        """A session is over."""
        for part in self._parts:
            if isinstance(part, Caching):
                part.end(session)

    def clear(self) -> None:
        """Empty the caches, between two runs."""
        for part in self._parts:
            if isinstance(part, Caching):
                part.clear()

    def close(self) -> None:
        """Close both; safe to call twice."""
        for part in self._parts:
            if isinstance(part, Closeable):
                part.close()
