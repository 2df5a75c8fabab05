"""How much memory the cache of an engine needs, before it is needed."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from rsdecode.backends.transformers.cache import SlotCache
from rsdecode.backends.transformers.network import Network
from rsdecode.backends.transformers.states import PLACES
from rsdecode.core.counted import counted

_MIB = 2**20


@dataclass(frozen=True, slots=True)
class Footprint:
    """The size of a network's cache.

    Attributes:
        token_bytes: keys and values of one token.
        state_bytes: the recurrent and convolution states of one sequence, with the outputs after
            them; 0 for a model without states.
    """

    token_bytes: int
    state_bytes: int

    def cache_bytes(self, slots: int, tokens: int) -> int:
        """Bytes of a cache.

        Args:
            slots: sequences.
            tokens: positions that are allocated for each.
        """
        return slots * (tokens * self.token_bytes + PLACES * self.state_bytes)

    def described(self, slots: int, max_context: int) -> str:
        """The size for people."""
        most = self.cache_bytes(slots, max_context + 1) / _MIB
        text = f"at most {most:,.0f} MiB for {counted(slots, 'slot')} of {max_context} tokens"
        if not self.state_bytes:
            return text
        states = slots * PLACES * self.state_bytes / _MIB
        return (
            f"{text}, of which {states:,.0f} MiB are the states of recurrent layers "
            f"({PLACES} a slot, {self.state_bytes / _MIB:,.2f} MiB each)"
        )


@torch.inference_mode()
def footprint(network: Network) -> Footprint:
    """Measure it on one token."""
    cache = SlotCache(1, 1)
    batch = cache.batch([0], [[0]], [0], network.device)
    outputs = network.forward(batch.ids, batch, cache, last_only=True)
    columns, states = 2, cache.states.nbytes  # the token's and the spare one
    keys_and_values = cache.nbytes - states
    kept = outputs[0, -1].numel() * outputs.element_size() if states else 0
    return Footprint(keys_and_values // columns, states // PLACES + kept)
