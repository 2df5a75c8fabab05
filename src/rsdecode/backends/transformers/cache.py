"""Keys, values and states of many sequences, each at its own length.

Axes: S slots, L positions, H key/value heads, D head size, B rows of a batch, T new tokens a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rsdecode.backends.transformers.states import CONVOLUTION, RECURRENT, SlotStates

GROWTH = 128


@dataclass(frozen=True, slots=True)
class Batch:
    """The tokens of one forward pass, and where they belong in the cache; all on the device.

    Rows are padded on the left, so that the last token of every row is at index -1.

    Attributes:
        ids: [B, T], the tokens; 0 for padding.
        slots: [B], the slot of each row.
        rows: the same, as a slice where they are adjacent.
        positions: [B, T], the position of each token in its sequence; 0 for padding.
        columns: [B, T], where its keys and values are written; padding goes to a spare column.
        span: number of columns that some row attends to.
        begins: whether all rows begin their sequences.
    """

    ids: Tensor
    slots: Tensor
    rows: slice | Tensor
    positions: Tensor
    columns: Tensor
    span: int
    begins: bool


class SlotCache:
    """Preallocated keys and values, [S, L, H, D] for each layer, of a type that the models take.

    The modelling code calls `update` in every attention layer. Position p of a sequence is in
    column p of its slot, so going back to an earlier position needs no work at all. Layers are
    allocated at the first update, when their shapes are known, and L grows with the longest
    sequence; the last column is spare, for padding.

    Layers with a recurrent or convolution state ask for it and give the next one; those are in
    `states`, one for each slot. Going back needs a snapshot of them.
    """

    is_compileable = False

    def __init__(self, slots: int, max_context: int) -> None:
        self._slots = slots
        self._max_context = max_context
        self._length = 0
        self._keys: dict[int, Tensor] = {}
        self._values: dict[int, Tensor] = {}
        self.states = SlotStates(slots)
        self._batch: Batch | None = None
        self._places: tuple[Tensor, ...] = ()

    @property
    def length(self) -> int:
        """Columns of a slot, the spare one, which is the last, included; 0 before the first pass.

        While it stays the same, so do the tensors of keys and values.
        """
        return self._length

    @property
    def nbytes(self) -> int:
        """Bytes allocated."""
        kept = (*self._keys.values(), *self._values.values())
        return sum(t.numel() * t.element_size() for t in kept) + self.states.nbytes

    def batch(
        self,
        slots: Sequence[int],
        pieces: Sequence[Sequence[int]],
        starts: Sequence[int],
        device: torch.device,
    ) -> Batch:
        """Lay out a forward pass: row i adds the tokens `pieces[i]` from position `starts[i]` on.

        What the host knows goes to the device in one transfer; the rest is computed there.
        """
        width = max(map(len, pieces))
        span = max(start + len(piece) for start, piece in zip(starts, pieces, strict=True))
        self._grow(span + 1)
        known = torch.tensor(
            [
                [slot, start, len(piece), *[0] * (width - len(piece)), *piece]
                for slot, start, piece in zip(slots, starts, pieces, strict=True)
            ]
        ).to(device, non_blocking=device.type == "cuda")
        slot, start, length, ids = known[:, 0], known[:, 1:2], known[:, 2:3], known[:, 3:]
        step = torch.arange(width, device=device) - width
        positions = columns = start + length + step
        if any(len(piece) < width for piece in pieces):
            padding = step < -length
            columns = positions.masked_fill(padding, self._length - 1)
            positions = positions.masked_fill(padding, 0)
        adjacent = list(slots) == list(range(slots[0], slots[0] + len(slots)))
        rows = slice(slots[0], slots[0] + len(slots)) if adjacent else slot
        return Batch(ids.contiguous(), slot, rows, positions, columns, span, not any(starts))

    def enter(self, batch: Batch) -> None:
        """Direct the coming `update` calls to the rows of `batch`."""
        self._batch, self._places = batch, (batch.slots[:, None], batch.columns)
        self.states.enter(batch.rows, begins=batch.begins)

    def leave(self) -> None:
        """End a forward pass, which has succeeded."""
        self.states.leave()

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """Store new keys and values [B, H, T, D]; return all of the rows', [B, H, span, D]."""
        assert self._batch is not None, "enter() comes before a forward pass"
        if layer_idx not in self._keys:
            self._keys[layer_idx] = self._allocate(key_states)
            self._values[layer_idx] = self._allocate(value_states)
        return (
            self._store(self._keys[layer_idx], key_states, self._batch),
            self._store(self._values[layer_idx], value_states, self._batch),
        )

    def copy(self, source: int, target: int, length: int) -> None:
        """Copy the first `length` positions of one slot to another."""
        for tensor in (*self._keys.values(), *self._values.values()):
            tensor[target, :length] = tensor[source, :length]

    def exchange(self, pairs: Sequence[tuple[int, int]], length: int) -> None:
        """Exchange the first `length` positions of pairs of slots; each slot is in one at most."""
        both = [*pairs, *((second, first) for first, second in pairs)]
        kept = (*self._keys.values(), *self._values.values())
        if not kept:
            return
        sources, targets = torch.tensor(both).T.to(kept[0].device)
        for tensor in kept:
            used = tensor[:, :length]
            used.index_copy_(0, targets, used.index_select(0, sources))

    def get_conv_state(self, layer_idx: int, state_idx: int = 0) -> Tensor | None:
        """The last inputs of a layer's convolution, [B, C, size]; part of the models' interface."""
        return self.states.get((CONVOLUTION, layer_idx, state_idx))

    def update_conv_state(
        self,
        conv_states: Tensor,
        layer_idx: int,
        state_idx: int = 0,
        conv_kernel_size: int | None = None,
        **_: Any,
    ) -> Tensor:
        """Add inputs [B, C, T]; return them after those that were known."""
        size = conv_kernel_size or conv_states.shape[-1]
        return self.states.extend((CONVOLUTION, layer_idx, state_idx), conv_states, size)

    def get_recurrent_state(self, layer_idx: int, state_idx: int = 0) -> Tensor | None:
        """A layer's recurrent state [B, ...]; part of the models' interface."""
        return self.states.get((RECURRENT, layer_idx, state_idx))

    def update_recurrent_state(
        self, recurrent_states: Tensor, layer_idx: int, state_idx: int = 0, **_: Any
    ) -> Tensor:
        """Replace a layer's recurrent state [B, ...]."""
        self.states.put((RECURRENT, layer_idx, state_idx), recurrent_states)
        return recurrent_states

    def is_recording_past(self, layer_idx: int) -> bool:
        """Part of the models' interface: whether states are kept for each token; they are not."""
        return False

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Part of the models' cache interface; positions are always given, so nothing asks."""
        return 0

    def _store(self, stored: Tensor, new: Tensor, batch: Batch) -> Tensor:
        rows = batch.rows
        if len(new) == 1 and isinstance(rows, slice):  # a row alone has no padding
            stored[rows, batch.span - new.shape[2] : batch.span].copy_(new.transpose(1, 2))
        else:
            stored[self._places] = new.transpose(1, 2)
        used = stored[:, : batch.span]
        if isinstance(rows, slice):
            return used[rows].transpose(1, 2)
        return used.index_select(0, rows).transpose(1, 2)

    def _allocate(self, like: Tensor) -> Tensor:
        _, heads, _, size = like.shape
        return like.new_zeros((self._slots, self._length, heads, size))

    def _grow(self, columns: int) -> None:
        """Make room for `columns` positions, the spare one included."""
        if columns <= self._length:
            return
        wanted = max(columns, min(2 * self._length, self._max_context + 1))
        length = min(-(-wanted // GROWTH) * GROWTH, max(self._max_context + 1, columns))
        for tensors in (self._keys, self._values):
            for layer, old in tensors.items():
                if old.shape[1] >= length:  # of an attempt for which the memory did not suffice
                    continue
                grown = old.new_zeros((old.shape[0], length, *old.shape[2:]))
                grown[:, : old.shape[1]] = old
                tensors[layer] = grown
        self._length = length
