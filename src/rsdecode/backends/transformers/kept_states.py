"""The states of a model that has some: what rows begin from, and what is kept of them.

Axes: B rows, W outputs.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from rsdecode.backends.transformers.batching import Row
from rsdecode.backends.transformers.families import Reading
from rsdecode.backends.transformers.jobs import Prefill
from rsdecode.backends.transformers.passes import ForwardPasses
from rsdecode.backends.transformers.serving import DecodeRow, PrefillRow
from rsdecode.backends.transformers.slots import Placement, Slot
from rsdecode.backends.transformers.snapshots import SnapshotTable


class KeptStates:
    """Keeps the states of an engine's rows where later requests may return to.

    Args:
        table: which states there are.
        passes: have them in their cache.
        reading: how the model reads.
    """

    def __init__(self, table: SnapshotTable, passes: ForwardPasses, reading: Reading) -> None:
        self._table = table
        self._passes = passes
        self._reading = reading

    def begin(self, row: Row, placed: Placement) -> None:
        """Put the state that a row begins from in its slot, and choose what will be kept."""
        states, index, job = self._passes.cache.states, row.slot.index, row.ticket.job
        if placed.restored is not None:
            states.copy([placed.restored], [index])
        elif not placed.reused:
            states.clear(index)
        returns = job.returns or (placed.parted,) if isinstance(job, Prefill) else (len(job.ids),)
        row.keeps = frozenset(returns)
        if isinstance(row, PrefillRow) and placed.reused > min(row.job.marks):
            row.take(states.outputs([index]))  # the first mark's
        if placed.reused in row.keeps:
            place = self._table.keep(row.slot, answered=self._table.is_answered(row.slot))
            if place is not None:
                states.copy([index], [place])

    def keep(self, rows: Sequence[Row], outputs: Tensor) -> None:
        """Keep the states of rows that are where a later request may return to.

        Args:
            rows: of the last pass.
            outputs: [B, W], after the last token of each.
        """
        sources, targets = list[int](), list[int]()
        for place, row in enumerate(rows):
            if len(row.slot.ids) in row.keeps and (kept := self._table.keep(row.slot)) is not None:
                sources.append(row.slot.index)
                targets.append(kept)
                self._passes.cache.states.set_outputs(row.slot.index, outputs[place])
        if sources:
            self._passes.cache.states.copy(sources, targets)

    def outputs(self, rows: Sequence[DecodeRow]) -> Tensor:
        """The outputs [B, W] after the states that rows begin from, kept with them."""
        return self._passes.cache.states.outputs([row.slot.index for row in rows])

    def leave_read(self, slot: Slot, outputs: Tensor) -> None:
        """Keep the outputs [W] after the last token of a slot."""
        self._passes.cache.states.set_outputs(slot.index, outputs)
        self._table.answer(slot)

    def leave_written(self, slot: Slot, logits: Tensor) -> None:
        """Leave a slot as the next request needs it; `logits` [V] are those after its state."""
        if self._reading is Reading.WHOLE:
            self._passes.return_to_snapshot(slot, self._table)
        else:
            self.leave_read(slot, logits)
