"""What the trainer trains: a backbone under a head.

Axes: B rows, T tokens, S steps of the batch, H hidden size, W outputs of the head.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from rsdecode.training.backbone import reward_logits
from rsdecode.training.train_data import UNKNOWN


class RewardModule(nn.Module):
    """The loss of a batch of solutions, and the reward logits of their steps.

    Args:
        network: gives hidden states.
        head: a linear layer on them.
        language_weight: of the language-model loss.
        words: weights of the output layer, for that loss.
        token_weight: of the loss at single tokens.
        compiled: train with the network as torch.compile makes it, for rows of any length.
    """

    def __init__(
        self,
        network: nn.Module,
        head: nn.Linear,
        language_weight: float = 0.0,
        words: nn.Parameter | None = None,
        token_weight: float = 0.0,
        *,
        compiled: bool = False,
    ) -> None:
        super().__init__()
        self.network = network
        self.head = head
        self._language_weight = language_weight
        self._token_weight = token_weight
        self._words = [words]  # in a list: it is not saved a second time
        self._trained: list[Any] = [torch.compile(network, dynamic=True) if compiled else network]

    def forward(  # noqa: PLR0917 - named by the collator
        self,
        input_ids: Tensor,
        places: Tensor,
        targets: Tensor,
        weights: Tensor,
        words: Tensor,
        spots: Tensor,
    ) -> dict[str, Tensor]:
        """Tokens and spots [B, T]; place [S, 2], target and weight [S] of steps; words [B, 2].

        The losses beside the reward's are only for training: held-out problems are measured by what
        the model is for. Rows are padded on the right, where a causal network does not look: no
        mask is needed.
        """
        [network] = self._trained if self.training else [self.network]
        hidden: Tensor = network(input_ids=input_ids, use_cache=False).last_hidden_state
        picked = hidden[places[:, 0], places[:, 1]]
        logits = reward_logits(self.head(picked.float()))
        loss = reward_loss(logits, targets, weights)
        if not self.training:
            return {"loss": loss, "logits": logits}
        if self._token_weight:
            loss = loss + self._token_weight * self._token_loss(hidden, spots)
        if self._language_weight:
            loss = loss + self._language_weight * self._language_loss(hidden, input_ids, words)
        return {"loss": loss, "logits": logits}

    def _token_loss(self, hidden: Tensor, spots: Tensor) -> Tensor:
        """Binary cross-entropy at the tokens of which it is known whether they are right."""
        known = spots != UNKNOWN
        logits = reward_logits(self.head(hidden[known].float()))
        losses = functional.binary_cross_entropy_with_logits(logits, spots[known], reduction="sum")
        return losses / known.sum().clamp(min=1)

    def _language_loss(self, hidden: Tensor, ids: Tensor, words: Tensor) -> Tensor:
        """Cross-entropy of the tokens of right steps."""
        [weight] = self._words
        assert weight is not None
        places = torch.arange(ids.shape[1], device=ids.device)[None]
        known = (places >= words[:, :1]) & (places < words[:, 1:])
        known = known[:, 1:]
        said = functional.linear(hidden[:, :-1][known], weight.to(hidden.dtype)).float()
        losses = functional.cross_entropy(said, ids[:, 1:][known], reduction="sum")
        return losses / known.sum().clamp(min=1)


def reward_loss(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean of the binary cross-entropy; targets may lie between 0 and 1."""
    losses = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return (losses * weights).sum() / weights.sum().clamp(min=1e-9)


@torch.inference_mode()
def logits_of(module: RewardModule, batches: Any) -> list[list[float]]:
    """The reward logits of each example of batches (lists of rows with their tensors), in order."""
    module.eval()
    found: list[list[float]] = []
    for tensors in batches:
        values = module(**tensors)["logits"].float().cpu().tolist()
        rows = tensors["places"][:, 0].tolist()
        own: list[list[float]] = [[] for _ in range(tensors["input_ids"].shape[0])]
        for row, value in zip(rows, values, strict=True):
            own[row].append(value)
        found += own
    return found
