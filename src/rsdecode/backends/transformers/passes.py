"""Forward passes over the rows of an engine, which fail for no row that could succeed alone.

Axes: B rows, T new tokens of a row, W outputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from rsdecode.backends.transformers.batching import Row, chunk
from rsdecode.backends.transformers.cache import SlotCache
from rsdecode.backends.transformers.cuda_graphs import DecodeGraphs, Recorder
from rsdecode.backends.transformers.even_batching import piece
from rsdecode.backends.transformers.families import Reading
from rsdecode.backends.transformers.network import Network
from rsdecode.backends.transformers.serving import DecodeRow
from rsdecode.backends.transformers.slots import Slot, SlotTable
from rsdecode.backends.transformers.snapshots import SnapshotTable


@dataclass(frozen=True, slots=True)
class Computed:
    """The outputs of a pass.

    Attributes:
        outputs: [B, T or 1, W].
        counts: how many of each row's pending tokens were computed.
    """

    rows: list[Row]
    outputs: Tensor
    counts: list[int]


@dataclass(frozen=True, slots=True)
class Fault:
    """A row whose pass failed although it was alone in it."""

    row: Row
    error: Exception


class ForwardPasses:
    """Runs rows through a network, with their keys and values in a cache of `slots` sequences.

    Args:
        network: the model.
        slots: sequences in the cache.
        max_context: tokens of a sequence at most.
        table: of the snapshots, for a model with states.
        recorder: of decode passes, for a model without; None to compute each anew.
    """

    def __init__(
        self,
        network: Network,
        slots: int,
        max_context: int,
        table: SnapshotTable | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        self._network = network
        self._table = table
        self.cache = SlotCache(slots, max_context)
        self._graphs: DecodeGraphs | None = None
        self._no_graphs: str | None = None
        if recorder is not None and table is None:
            self._graphs = DecodeGraphs(network, self.cache, slots, recorder)
        elif recorder is not None:
            self._no_graphs = "its layers have a state"

    @property
    def why_no_graphs(self) -> str | None:
        """Why decode passes are not recorded although they were to be; None if there is no why."""
        return self._no_graphs if self._graphs is None else self._graphs.why_not

    def bring_together(self, rows: Sequence[Row], table: SlotTable) -> None:
        """Let rows that write be adjacent in the cache, where a pass needs no copy of their keys.

        They stay together for as many tokens as they write, while one copy serves one token. States
        are copied for each pass anyway.

        Args:
            rows: of the next pass.
            table: of their slots.
        """
        if self._table is not None or len(rows) < 2 or any(len(row.pending) > 1 for row in rows):
            return
        pairs = table.bring_together([row.slot for row in rows])
        if not pairs:
            return
        moved = (table.slots[place] for pair in pairs for place in pair)
        try:
            self.cache.exchange(pairs, max(len(slot.ids) for slot in moved))
        except Exception:
            table.clear()  # what idle slots hold is not known any more; the rows fail
            raise

    def run(self, rows: list[Row]) -> Iterator[Computed | Fault]:
        """Compute a chunk of each row's pending tokens.

        A pass that fails is repeated in halves: each has less to hold in memory, and what is wrong
        with one row fails that row alone. With states, each row is repeated alone, from its last
        snapshot, as the failed pass may have changed the states of some layers.
        """
        if not rows:
            return
        result: Computed | Fault | None = None
        try:
            result = self._forward(rows)
        except Exception as error:  # noqa: BLE001  logged by whoever answers the job
            if len(rows) == 1:
                result = Fault(rows[0], error)
        if result is not None:
            yield result
            return
        if self._table is not None:
            for row in rows:
                yield from self._compute_again(row, self._table)
            return
        middle = len(rows) // 2  # out of the handler, whose exception holds the pass's tensors
        yield from self.run(rows[:middle])
        yield from self.run(rows[middle:])

    def return_to_snapshot(self, slot: Slot, table: SnapshotTable) -> None:
        """Leave what a slot holds after its latest snapshot."""
        place = table.go_back(slot)
        if place is None:
            self.cache.states.clear(slot.index)
        else:
            self.cache.states.copy([place], [slot.index])

    def free(self) -> None:
        """Give the cache's memory back; no pass follows."""
        self.cache, self._graphs = SlotCache(1, 1), None

    def _compute_again(self, row: Row, table: SnapshotTable) -> Iterator[Computed | Fault]:
        """Bring a row, alone, from its last snapshot to behind where it was."""
        held = list(row.slot.ids)
        self.return_to_snapshot(row.slot, table)
        row.pending[:0] = held[len(row.slot.ids) :]
        while row.pending and len(row.slot.ids) <= len(held):  # whoever takes a result advances it
            for result in self.run([row]):
                yield result
                if isinstance(result, Fault):
                    return

    def _counts(self, rows: list[Row]) -> list[int]:
        """How many tokens each row computes."""
        if self._network.reading is Reading.PADDED:
            return [chunk(row) for row in rows]
        return [min(piece(row, self._network.reading) for row in rows)] * len(rows)

    def _forward(self, rows: list[Row]) -> Computed:
        if self._graphs is not None and all(_writes_one(row) for row in rows):
            slots, starts = [row.slot.index for row in rows], [len(row.slot.ids) for row in rows]
            outputs = self._graphs.run(slots, [row.pending[0] for row in rows], starts)
            if outputs is not None:
                return Computed(rows, outputs, [1] * len(rows))
        counts = self._counts(rows)
        slots = [row.slot.index for row in rows]
        pieces = [row.pending[:count] for row, count in zip(rows, counts, strict=True)]
        starts = [len(row.slot.ids) for row in rows]
        batch = self.cache.batch(slots, pieces, starts, self._network.device)
        outputs = self._network.forward(batch.ids, batch, self.cache, last_only=rows[0].last_only)
        return Computed(rows, outputs, counts)


def _writes_one(row: Row) -> bool:
    return isinstance(row, DecodeRow) and len(row.pending) == 1
