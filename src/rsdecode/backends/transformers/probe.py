"""Compares a loaded model in our engine's cache with its own plain forward pass.

A family whose attention code disregards our masks, positions or cache would write other tokens
without any error. Two short sequences, side by side, in pieces, with a step taken back, show it
before the first request.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rsdecode.backends.transformers.cache import SlotCache
from rsdecode.backends.transformers.families import Reading
from rsdecode.backends.transformers.network import BackboneNetwork, CausalNetwork
from rsdecode.core.errors import ModelLoadError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_LENGTHS = (11, 7)
_EXACT, _ROUNDED = 1e-2, 0.2
"""Distance of outputs that is put down to rounding, in float32 and in shorter types. Wrong masks
give distances from .1 to 2."""


def require_equal_outputs(model: PreTrainedModel, name: str) -> None:
    """Check that the engine's way of running a model changes no outputs.

    Args:
        model: loaded, on its device.
        name: for the message.

    Raises:
        ModelLoadError: it does, or the model cannot be run this way at all.
    """
    kind = model.config.get_text_config().model_type
    remedy = "serve it by vLLM or SGLang, or choose another model"
    try:
        distance = output_distance(model)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        raise ModelLoadError(
            f"{name!r} ({kind}) cannot be run by this engine, which gives a model its own masks, "
            f"positions and cache ({type(error).__name__}: {str(error)[:160]}): {remedy}"
        ) from error
    limit = _EXACT if model.dtype == torch.float32 else _ROUNDED
    if not distance <= limit:
        raise ModelLoadError(
            f"{name!r} ({kind}) gives other outputs in this engine's cache than by itself "
            f"(relative distance {distance:.2g}), so its answers would be wrong: {remedy}"
        )


@torch.inference_mode()
def output_distance(model: PreTrainedModel) -> float:
    """The relative distance of outputs in our cache from those of a plain forward pass.

    The largest of four positions; in short types the second largest, as one position may round to
    another expert of a mixture.
    """
    anything: Any = model.eval()
    writes = anything.get_output_embeddings() is not None
    inner = model if writes else anything.base_model
    network = CausalNetwork(inner) if writes else BackboneNetwork(inner, lambda hidden: hidden)
    size: int = anything.get_input_embeddings().weight.shape[0]
    first, second = (some_ids(n, size) for n in _LENGTHS)
    compared = _Compared(network, SlotCache(2, max(_LENGTHS) + 1))
    run = compared.read if network.reading is not Reading.PADDED else compared.run

    def plain(ids: list[int]) -> Tensor:
        given = torch.tensor([ids], device=model.device)
        outputs: Any = inner(input_ids=given, use_cache=False)
        return (outputs.logits if writes else outputs.last_hidden_state)[0].float()

    whole, other = plain(first), plain(second)
    begun = run([0, 1], [first[:6], second[:3]], [0, 0])
    compared.cache.states.copy([0, 1], [2, 3])
    run([0], [second[:2]], [6])  # a step that is taken back
    compared.cache.states.copy([2], [0])
    ended = run([0, 1], [first[6:], second[3:]], [6, 3])
    pairs = [
        (begun[0], whole[5]), (begun[1], other[2]), (ended[0], whole[-1]), (ended[1], other[-1]),
    ]  # fmt: skip
    distances = [relative_distance(a, b) for a, b in pairs]
    if not all(map(math.isfinite, distances)):
        return 0.0  # damaged weights, of which every request says so
    return sorted(distances)[-1 if model.dtype == torch.float32 else -2]


@dataclass(frozen=True, slots=True)
class _Compared:
    """A network with a cache of two slots."""

    network: CausalNetwork | BackboneNetwork
    cache: SlotCache

    def read(self, slots: list[int], pieces: list[list[int]], starts: list[int]) -> Tensor:
        """Read pieces of several lengths in passes whose rows are equally long."""
        single = self.network.reading is Reading.SINGLE
        outputs: dict[int, Tensor] = {}
        while left := [row for row, piece in enumerate(pieces) if piece]:
            width = min(1 if single and starts[row] else len(pieces[row]) for row in left)
            if self.network.reading is Reading.WHOLE:
                left = [row for row in left if len(pieces[row]) == width]
            new = [pieces[row][:width] for row in left]
            given = self.run([slots[row] for row in left], new, [starts[row] for row in left])
            outputs |= dict(zip(left, given, strict=True))
            starts = [s + width if row in left else s for row, s in enumerate(starts)]
            pieces = [p[width:] if row in left else p for row, p in enumerate(pieces)]
        return torch.stack([outputs[row] for row in range(len(slots))])

    def run(self, slots: list[int], pieces: list[list[int]], starts: list[int]) -> Tensor:
        """Outputs after the last tokens of pieces, side by side, the shorter ones padded."""
        batch = self.cache.batch(slots, pieces, starts, self.network.device)
        return self.network.forward(batch.ids, batch, self.cache, last_only=True)[:, -1].float()


def some_ids(count: int, size: int) -> list[int]:
    """As many tokens of a vocabulary of that size, always the same ones."""
    return [(37 * i * i + 11 * i + 5) % size for i in range(count)]


def relative_distance(outputs: Tensor, expected: Tensor) -> float:
    """The distance of outputs, relative to how far those that are expected spread; both floats."""
    spread = float(torch.dist(expected, expected.mean()))
    return float(torch.dist(outputs, expected)) / spread if spread else 0.0
