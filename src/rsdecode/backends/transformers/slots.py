"""Which cache slot serves a request, and how much of the KV cache it can reuse. No tensors here.

Every slot holds the keys and values of one token sequence. A request is given the slot where its
session left off: what the two have in common stays, the rest is overwritten (a rejected draft step
is a rewind, an accepted one is there already). A new session copies the longest prefix that any
slot has, say the system prompt, into a slot whose session is over, or the one idle longest.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple


@dataclass(slots=True, eq=False)
class Slot:
    """One sequence in the cache.

    Attributes:
        index: row of the cache.
        ids: the tokens whose keys and values are in the cache.
        last_used: ordinal of the request that used it last; 0 if none did.
    """

    index: int
    session: str = ""
    ids: list[int] = field(default_factory=list[int])
    busy: bool = False
    last_used: int = 0


class Placement(NamedTuple):
    """Serve the request in `slot`, whose first `reused` tokens are (or are copied) in place.

    Attributes:
        restored: the place of the state to begin from, of a model with states; None where the slot
            has it already, or begins anew.
        parted: the first token by which the request differs from what the slot held.
    """

    slot: Slot
    reused: int
    copy_from: Slot | None
    restored: int | None = None
    parted: int = 0


class SlotTable:
    """The slots of one engine."""

    def __init__(self, count: int) -> None:
        if count < 1:
            raise ValueError(f"slots {count!r} must be at least 1")
        self.slots = [Slot(index) for index in range(count)]
        self._clock = 0

    @property
    def has_room(self) -> bool:
        """Whether a slot is free."""
        return any(not slot.busy for slot in self.slots)

    def place(
        self, session: str, ids: Sequence[int], reusable: int, answered: int | None = None
    ) -> Placement:
        """Take a slot for a request; one must be free.

        Args:
            session: whose continuation the request is.
            ids: all its tokens.
            reusable: how many of them may come from the cache; the rest must be computed for their
                outputs.
            answered: how many more may, if the outputs after them are kept; keys and values are
                kept without.
        """
        free = [slot for slot in self.slots if not slot.busy]
        wanted = list(ids[:reusable])
        own = [slot for slot in free if slot.session == session]
        if own:
            slot = max(own, key=lambda slot: common_prefix(slot.ids, wanted))
        else:
            slot = min(free, key=lambda slot: (bool(slot.session), slot.last_used))
        reused = common_prefix(slot.ids, wanted)
        copy_from = None
        if not own or reused < min(len(wanted), len(slot.ids)) // 2:
            best, length = self._longest_prefix(wanted)
            if length > reused:
                copy_from, reused = best, length
        self._take(slot, session, wanted[:reused])
        return Placement(slot, reused, copy_from)

    def end(self, session: str) -> None:
        """A session is over: its slots, and those of its branches, are the first to be taken."""
        for slot in self.slots:
            if slot.session == session or slot.session.startswith(f"{session}/"):
                slot.session = ""

    def clear(self) -> None:
        """Drop what idle slots hold."""
        for slot in self.slots:
            if not slot.busy:
                self.forget(slot)

    def release(self, slot: Slot) -> None:
        """The request is served; the slot keeps its tokens for the session's next one."""
        slot.busy = False

    def forget(self, slot: Slot) -> None:
        """Drop a slot's tokens, after a failure left its keys and values undefined."""
        slot.ids.clear()
        slot.session = ""
        slot.busy = False

    def bring_together(self, slots: Sequence[Slot]) -> list[tuple[int, int]]:
        """Let slots have adjacent rows of the cache.

        Returns:
            The rows of the cache that must be exchanged for it; each is in one pair at most.
        """
        pairs = exchanges([slot.index for slot in slots], len(self.slots))
        for a, b in pairs:
            at_a, at_b = self.slots[a], self.slots[b]
            at_a.index, at_b.index = b, a
            self.slots[a], self.slots[b] = at_b, at_a
        return pairs

    def _take(self, slot: Slot, session: str, ids: list[int]) -> None:
        """Give a slot, which holds `ids`, to a session."""
        self._clock += 1
        slot.session, slot.busy, slot.last_used, slot.ids = session, True, self._clock, ids

    def _longest_prefix(self, wanted: list[int]) -> tuple[Slot, int]:
        lengths = [(common_prefix(slot.ids, wanted), -slot.index) for slot in self.slots]
        length, negative_index = max(lengths)
        return self.slots[-negative_index], length


def exchanges(places: Sequence[int], count: int) -> list[tuple[int, int]]:
    """The fewest exchanges after which `places`, of `count`, are adjacent: (taken, free)."""
    ordered = sorted(places)
    width = len(ordered)
    if not width or ordered[-1] - ordered[0] == width - 1:
        return []

    def inside(start: int) -> int:
        return bisect_left(ordered, start + width) - bisect_left(ordered, start)

    start = max((min(place, count - width) for place in ordered), key=inside)
    window = range(start, start + width)
    free = sorted(set(window).difference(ordered))
    return list(zip([place for place in ordered if place not in window], free, strict=True))


def common_prefix(a: list[int], b: list[int]) -> int:
    """Length of the longest common prefix, by bisection over slice comparisons."""
    low, high = 0, min(len(a), len(b))
    if a[:high] == b[:high]:
        return high
    while low < high:
        middle = (low + high + 1) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
