"""Muon for the matrices of the layers, AdamW for all else, as one optimiser (Jordan et al. 2024).

Small networks that are trained whole learn faster by it than by AdamW alone.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn

FASTER = 2.0
"""The rate of the matrices, as a multiple of that of all else."""


class MuonWithAdamW(torch.optim.Optimizer):
    """Two optimisers that share their groups and states with this one, which is what is saved.

    Args:
        module: what is trained.
        rate: learning rate of all but the matrices.
    """

    def __init__(self, module: nn.Module, rate: float) -> None:
        layers = cast(list[tuple[str, nn.Module]], list(cast(Any, module).named_modules()))
        inner = {
            layer.weight
            for name, layer in layers
            if isinstance(layer, nn.Linear) and name != "head"
        }
        trained = [weights for weights in module.parameters() if weights.requires_grad]
        muon = torch.optim.Muon(
            [weights for weights in trained if weights in inner],
            lr=FASTER * rate,
            weight_decay=0.01,
            adjust_lr_fn="match_rms_adamw",
        )
        others = [weights for weights in trained if weights not in inner]
        adam = torch.optim.AdamW(others, lr=rate, betas=(0.9, 0.98), weight_decay=0.0)
        self._parts: list[torch.optim.Optimizer] = [muon, adam]
        super().__init__([group for part in self._parts for group in part.param_groups], {})
        self._share()

    def _share(self) -> None:
        for part, group in zip(self._parts, self.param_groups, strict=True):
            part.param_groups = [group]
            part.state = self.state

    def load_state_dict(self, state_dict: Any) -> None:
        """Go on from a saved state."""
        super().load_state_dict(state_dict)
        self._share()

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """One update by both."""
        loss = None if closure is None else closure()
        for part in self._parts:
            part.step()
        return loss
