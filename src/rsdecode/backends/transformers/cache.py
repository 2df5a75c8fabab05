"""Keys, values and states of many sequences, each at its own length.

Axes: S slots, L positions, H key/value heads, D head size, B rows of a batch, T new tokens a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from rsdecode.backends.transformers.states import CONVOLUTION, RECURRENT, SlotStates

GROWTH = 128


@dataclass(frozen=True, slots=True)
class Batch:
    """Where the tokens of one forward pass belong in the cache.

    Rows are padded on the left, so that the last token of every row is at index -1.

    Attributes:
        slots: [B], the slot of each row.
        positions: [B, T], the position of each token in its sequence; 0 for padding.
        columns: [B, T], where its keys and values are written; padding goes to a spare column.
        span: number of columns that some row attends to.
        begins: whether all rows begin their sequences.
    """

    slots: Tensor
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
        self._rows: slice | Tensor = slice(0)

    @property
    def nbytes(self) -> int:
        """Bytes allocated."""
        kept = (*self._keys.values(), *self._values.values())
        return sum(t.numel() * t.element_size() for t in kept) + self.states.nbytes

    def batch(self, slots: list[int], lengths: list[int], starts: list[int], width: int) -> Batch:
        """Lay out a forward pass: row i adds `lengths[i]` tokens from position `starts[i]` on."""
        span = max(start + length for start, length in zip(starts, lengths, strict=True))
        self._grow(span + 1)
        step = torch.arange(width) - width
        start, length = torch.tensor(starts)[:, None], torch.tensor(lengths)[:, None]
        positions = start + length + step
        padding = step < -length
        columns = positions.masked_fill(padding, self._length - 1)
        positions = positions.masked_fill(padding, 0)
        return Batch(torch.tensor(slots), positions, columns, span, not any(starts))

    def enter(self, batch: Batch, device: torch.device) -> None:
        """Direct the coming `update` calls to the rows of `batch`."""
        first, last = int(batch.slots[0]), int(batch.slots[-1])
        rows = batch.slots.to(device)
        ordered = torch.arange(first, first + len(batch.slots))
        adjacent = last == first + len(batch.slots) - 1 and torch.equal(batch.slots, ordered)
        self._rows = slice(first, last + 1) if adjacent else rows
        self._batch = replace(batch, slots=rows[:, None], columns=batch.columns.to(device))
        self.states.enter(self._rows, begins=batch.begins)

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
        first, second = torch.tensor(pairs).T
        sources, targets = torch.cat((first, second)), torch.cat((second, first))
        for tensor in (*self._keys.values(), *self._values.values()):
            used, device = tensor[:, :length], tensor.device
            used.index_copy_(0, targets.to(device), used.index_select(0, sources.to(device)))

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
        if len(new) == 1 and isinstance(self._rows, slice):  # a row alone has no padding
            stored[self._rows, batch.span - new.shape[2] : batch.span].copy_(new.transpose(1, 2))
        else:
            stored[batch.slots, batch.columns] = new.transpose(1, 2)
        used = stored[:, : batch.span]
        if isinstance(self._rows, slice):
            return used[self._rows].transpose(1, 2)
        return used.index_select(0, self._rows).transpose(1, 2)

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
