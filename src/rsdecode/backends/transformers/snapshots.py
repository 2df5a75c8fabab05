"""Which slot serves a request to a model with states, and from which state. No tensors here.

Keys and values can be rewound to any position, states only to where one was kept. Each slot has the
state after its last token, and snapshots at two earlier positions: for RSD where the present step
began and where the one before did. So a rejected step is a return to a snapshot, an accepted one is
there already, and a branch is a copy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rsdecode.backends.transformers.slots import Placement, Slot, SlotTable, common_prefix
from rsdecode.backends.transformers.states import SNAPSHOTS


@dataclass(frozen=True, slots=True)
class Kept:
    """A state that is kept.

    Attributes:
        place: where it is (see `states.SlotStates`).
        position: tokens before it.
        answered: whether the network's outputs after it are kept with it.
    """

    place: int
    position: int
    answered: bool


class _Found(NamedTuple):
    """A state that a request may begin from; the best is the greatest."""

    position: int
    own: bool
    negative_index: int
    kept: Kept
    slot: Slot


class _Ends(NamedTuple):
    """How much of a request may come from the cache (see `SlotTable.place`)."""

    reusable: int
    answered: int | None

    def allow(self, kept: Kept) -> bool:
        """Whether the request may begin from a state."""
        return kept.position <= self.reusable or (kept.answered and kept.position == self.answered)


class SnapshotTable(SlotTable):
    """The slots of one engine, whose model has states.

    Args:
        count: slots.
        least: tokens that are read behind a state at least, if any are.
    """

    def __init__(self, count: int, least: int = 1) -> None:
        super().__init__(count)
        self._least = least
        self._kept: dict[int, list[Kept]] = {index: [] for index in range(count)}
        self._answered: dict[int, int] = {}

    def place(
        self, session: str, ids: Sequence[int], reusable: int, answered: int | None = None
    ) -> Placement:
        """Take a slot for a request; one must be free (see `SlotTable.place`)."""
        wanted, ends = list(ids), _Ends(reusable, answered)
        free = [slot for slot in self.slots if not slot.busy]
        own = [slot for slot in free if slot.session == session]
        slot = min(free, key=lambda slot: (bool(slot.session), slot.last_used))
        if own:
            begun = {slot.index: self._best([slot], wanted, ends) for slot in own}
            slot = max(own, key=lambda slot: _position(begun[slot.index]))
        best = self._best(self.slots, wanted, ends, prefer=slot)
        reused = _position(best)
        copy_from = best.slot if best is not None and best.slot is not slot else None
        shared = 0 if copy_from is not None else common_prefix(slot.ids, wanted)
        restored = None
        if best is not None and (copy_from is not None or best.position < len(slot.ids)):
            restored = best.kept.place
        kept = [] if copy_from is not None else self._kept[slot.index]
        self._kept[slot.index] = [state for state in kept if state.position <= reused]
        self._answered[slot.index] = reused if best is not None and best.kept.answered else -1
        self._take(slot, session, wanted[:reused])
        return Placement(slot, reused, copy_from, restored, max(shared, reused))

    def keep(self, slot: Slot, *, answered: bool = True) -> int | None:
        """Where to copy the slot's present state, to be kept; None where it is kept already.

        The earliest of its snapshots gives way.
        """
        kept, position = self._kept[slot.index], len(slot.ids)
        if position == 0 or any(state.position == position for state in kept):
            return None
        places = {self._snapshot_place(slot, i) for i in range(SNAPSHOTS)}
        if len(kept) == len(places):
            kept.remove(min(kept, key=lambda state: state.position))
        place = min(places - {state.place for state in kept})
        kept.append(Kept(place, position, answered))
        return place

    def answer(self, slot: Slot) -> None:
        """The outputs after the slot's last token are kept with its state."""
        self._answered[slot.index] = len(slot.ids)

    def is_answered(self, slot: Slot) -> bool:
        """Whether they are."""
        return self._answered.get(slot.index) == len(slot.ids)

    def last_kept(self, slot: Slot) -> Kept | None:
        """The slot's latest snapshot."""
        return max(self._kept[slot.index], key=lambda state: state.position, default=None)

    def go_back(self, slot: Slot) -> int | None:
        """Leave a slot's tokens after its latest snapshot; the place of that, or None."""
        kept = self.last_kept(slot)
        del slot.ids[0 if kept is None else kept.position :]
        self._answered[slot.index] = kept.position if kept and kept.answered else -1
        return None if kept is None else kept.place

    def forget(self, slot: Slot) -> None:
        """Drop a slot's tokens, after a failure left its state undefined."""
        super().forget(slot)
        self._kept[slot.index].clear()
        self._answered.pop(slot.index, None)

    def _best(
        self, slots: Sequence[Slot], wanted: list[int], ends: _Ends, prefer: Slot | None = None
    ) -> _Found | None:
        """The latest state from which the tokens `wanted` can be continued, or None."""
        found: list[_Found] = []
        for slot in slots:
            shared = common_prefix(slot.ids, wanted)
            present = Kept(slot.index, len(slot.ids), self.is_answered(slot))
            for state in (present, *self._kept[slot.index]):
                left = len(wanted) - state.position
                enough = left >= self._least or left == 0
                if 0 < state.position <= shared and enough and ends.allow(state):
                    own = slot is prefer
                    found.append(_Found(state.position, own, -slot.index, state, slot))
        return max(found, key=lambda each: each[:3], default=None)

    def _snapshot_place(self, slot: Slot, which: int) -> int:
        return len(self.slots) * (1 + which) + slot.index


def _position(found: _Found | None) -> int:
    return 0 if found is None else found.position
