"""A Hugging Face model as a function of tokens, positions and our cache.

Axes: B rows, T new tokens a row, K key positions, W outputs (vocabulary, labels), H hidden size.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from rsdecode.backends.transformers.cache import Batch, SlotCache
from rsdecode.backends.transformers.families import (
    FULL,
    Reading,
    attention_windows,
    masks_by_layer,
    reading_of,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Network(Protocol):
    """What the engine runs."""

    @property
    def device(self) -> torch.device:
        """Where tokens must be."""
        ...

    @property
    def vocabulary_size(self) -> int:
        """Token ids are below it."""
        ...

    @property
    def parameters(self) -> int:
        """How many there are."""
        ...

    @property
    def reading(self) -> Reading:
        """How its forward passes are to be made up."""
        ...

    def forward(self, ids: Tensor, batch: Batch, cache: SlotCache, *, last_only: bool) -> Tensor:
        """Outputs for new tokens `ids` [B, T], those of `batch`.

        Returns:
            [B, T, W], or [B, 1, W] of the last token of each row.
        """
        ...


class _HuggingFaceNetwork:
    """Calls a model with explicit positions, masks and cache."""

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model.eval()
        self._config: Any = model.config.get_text_config()
        self._dtype: torch.dtype = model.dtype
        names = inspect.signature(model.forward).parameters
        self._positions = "position_ids" in names
        self._windows = attention_windows(self._config)
        self._reading = reading_of(model)
        if self._positions and not self._windows:  # a family that attends, but not in this model
            self._windows = {FULL: None}
        self._cache_argument = "cache" if "cache" in names else "past_key_values"

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        device: torch.device = self._model.device
        return device

    @property
    def vocabulary_size(self) -> int:
        """Rows of the input embedding."""
        embedding: Any = self._model.get_input_embeddings()
        return int(embedding.weight.shape[0])

    @property
    def parameters(self) -> int:
        """Of the model, without a head of ours."""
        return sum(parameter.numel() for parameter in self._model.parameters())

    @property
    def reading(self) -> Reading:
        """How forward passes are made up, by the kinds of the model's layers."""
        return self._reading

    def _run(self, ids: Tensor, batch: Batch, cache: SlotCache, **kwargs: Any) -> Any:
        cache.enter(batch)
        masks = {kind: self._mask(batch, window) for kind, window in self._windows.items()}
        outputs = self._model(
            input_ids=ids,
            attention_mask=masks_by_layer(self._config, masks),
            use_cache=True,
            **({"position_ids": batch.positions} if self._positions else {}),
            **{self._cache_argument: cache},
            **kwargs,
        )
        cache.leave()
        return outputs

    def _mask(self, batch: Batch, window: int | None) -> Tensor:
        """Additive mask [B, 1, T, K]: a token sees itself and what is before it in its row."""
        device = batch.positions.device
        query, key = batch.positions[:, :, None], torch.arange(batch.span, device=device)
        seen = key <= query
        if window is not None:
            seen &= key > query - window
        mask = torch.zeros(seen.shape, dtype=self._dtype, device=device)
        mask.masked_fill_(~seen, torch.finfo(self._dtype).min)
        return mask[:, None]


class CausalNetwork(_HuggingFaceNetwork):
    """A causal language model; outputs are logits over the vocabulary."""

    def forward(self, ids: Tensor, batch: Batch, cache: SlotCache, *, last_only: bool) -> Tensor:
        """Logits (see `Network`)."""
        keep = 1 if last_only else 0
        logits: Tensor = self._run(ids, batch, cache, logits_to_keep=keep).logits
        return logits


class BackboneNetwork(_HuggingFaceNetwork):
    """A transformer without an output layer, under a head of ours: reward models.

    Args:
        backbone: gives hidden states.
        head: hidden states [B, T, H] to outputs [B, T, W].
    """

    def __init__(self, backbone: PreTrainedModel, head: Callable[[Tensor], Tensor]) -> None:
        super().__init__(backbone)
        self._head = head

    def forward(self, ids: Tensor, batch: Batch, cache: SlotCache, *, last_only: bool) -> Tensor:
        """The head's outputs (see `Network`)."""
        hidden: Tensor = self._run(ids, batch, cache).last_hidden_state
        return self._head(hidden[:, -1:] if last_only else hidden)
