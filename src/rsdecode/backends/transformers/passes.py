"""Forward passes over the rows of an engine, which fail for no row that could succeed alone.

Axes: B rows, T new tokens of a row, W outputs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from rsdecode.backends.transformers.batching import Row, chunk
from rsdecode.backends.transformers.cache import SlotCache
from rsdecode.backends.transformers.network import Network


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
    """Runs rows through a network, with their keys and values in a cache of `slots` sequences."""

    def __init__(self, network: Network, slots: int, max_context: int) -> None:
        self._network = network
        self.cache = SlotCache(slots, max_context)

    def run(self, rows: list[Row]) -> Iterator[Computed | Fault]:
        """Compute a chunk of each row's pending tokens.

        A pass that fails is repeated in halves: each has less to hold in memory, and what is wrong
        with one row fails that row alone.
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
        middle = len(rows) // 2  # out of the handler, whose exception holds the pass's tensors
        yield from self.run(rows[:middle])
        yield from self.run(rows[middle:])

    def free(self) -> None:
        """Give the cache's memory back; no pass follows."""
        self.cache = SlotCache(1, 1)

    def _forward(self, rows: list[Row]) -> Computed:
        counts = [chunk(row) for row in rows]
        width = max(counts)
        slots = [row.slot.index for row in rows]
        starts = [len(row.slot.ids) for row in rows]
        batch = self.cache.batch(slots, counts, starts, width)
        ids = [
            [0] * (width - count) + row.pending[:count]
            for row, count in zip(rows, counts, strict=True)
        ]
        outputs = self._network.forward(
            torch.tensor(ids), batch, self.cache, last_only=rows[0].last_only
        )
        return Computed(rows, outputs, counts)
