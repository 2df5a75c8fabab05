"""Recurrent and convolution states of many sequences, with snapshots of earlier ones.

A state says all that a layer knows of a sequence and cannot be taken back by a token. So each slot
keeps, beside the state of its sequence, the states at two earlier positions, to return to.

Axes: P places, B rows of a batch, C channels, T new tokens a row, W outputs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

SNAPSHOTS = 2
"""Earlier states that a slot keeps: where its present step began, and where the one before did."""
PLACES = 1 + SNAPSHOTS
"""States of a slot in all."""

CONVOLUTION, RECURRENT = "convolution", "recurrent"
Key = tuple[str, int, int]
"""Kind, layer, and which of the layer's states."""


class SlotStates:
    """Preallocated states, [P, ...] for each layer; the first P are those of the slots themselves.

    Snapshot i of slot s is in place `slots * (1 + i) + s`. A layer's states are allocated when it
    first gives one. With each state are the network's outputs after it, so that a request that
    ends where a state does computes nothing.

    Args:
        slots: sequences.
    """

    def __init__(self, slots: int) -> None:
        self._places = slots * PLACES
        self._stored: dict[Key, Tensor] = {}
        self._outputs: Tensor | None = None
        self._rows: slice | Tensor = slice(0)
        self._begins = True
        self._lent: dict[Key, Tensor] = {}

    @property
    def nbytes(self) -> int:
        """Bytes allocated."""
        kept = [*self._stored.values(), *([] if self._outputs is None else [self._outputs])]
        return sum(tensor.numel() * tensor.element_size() for tensor in kept)

    def enter(self, rows: slice | Tensor, *, begins: bool) -> None:
        """Direct what follows to the states of these slots, one for each row.

        Args:
            rows: the slots.
            begins: whether all rows begin their sequences, and have no state yet.
        """
        self._rows, self._begins = rows, begins
        self._lent.clear()

    def leave(self) -> None:
        """Store what the modelling code changed in place since `enter`."""
        for key, lent in self._lent.items():
            self._stored[key][self._rows] = lent
        self._lent.clear()

    def get(self, key: Key) -> Tensor | None:
        """The rows' states [B, ...], which may be changed in place; None where all begin."""
        stored = None if self._begins else self._stored.get(key)
        if stored is None or isinstance(self._rows, slice):
            return None if stored is None else stored[self._rows]
        if key not in self._lent:
            self._lent[key] = stored.index_select(0, self._rows)
        return self._lent[key]

    def put(self, key: Key, states: Tensor) -> None:
        """Replace the rows' states [B, ...]."""
        if key not in self._stored:
            self._stored[key] = states.new_zeros((self._places, *states.shape[1:]))
        self._lent.pop(key, None)
        self._stored[key][self._rows] = states.to(self._stored[key].dtype)

    def extend(self, key: Key, inputs: Tensor, size: int) -> Tensor:
        """Add a convolution's new inputs [B, C, T]; keep the last `size` of them.

        Returns:
            [B, C, size + T] what the rows knew and the new inputs; [B, C, T] where all begin.
        """
        known = self.get(key)
        whole = inputs if known is None else torch.cat([known, inputs], dim=-1)
        missing = max(size - whole.shape[-1], 0)
        self.put(key, functional.pad(whole[..., -size:], (missing, 0)))
        return whole

    def copy(self, sources: Sequence[int], targets: Sequence[int]) -> None:
        """Copy the states of places to other places, with the outputs after them."""
        if len(sources) == 1:
            for tensor in self._all():
                tensor[targets[0]] = tensor[sources[0]]
            return
        for tensor in self._all():
            given = torch.tensor(sources, device=tensor.device)
            tensor[torch.tensor(targets, device=tensor.device)] = tensor[given]

    def clear(self, place: int) -> None:
        """Return a place to the state before the first token."""
        for tensor in self._stored.values():
            tensor[place] = 0

    def set_outputs(self, place: int, outputs: Tensor) -> None:
        """Keep the network's outputs [W] after the state of a place."""
        if self._outputs is None:
            self._outputs = outputs.new_zeros((self._places, len(outputs)))
        self._outputs[place] = outputs

    def outputs(self, places: Sequence[int]) -> Tensor:
        """Outputs [B, W] after the states of places; they were set before."""
        assert self._outputs is not None, "outputs are asked for where they were kept"
        return self._outputs[list(places)]

    def _all(self) -> list[Tensor]:
        return [*self._stored.values(), *([] if self._outputs is None else [self._outputs])]
