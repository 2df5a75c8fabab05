"""Muon for the matrices inside the layers, AdamW for everything else, one schedule for both."""

from __future__ import annotations

from bisect import bisect_right
from typing import Any

import torch
from torch import nn

from recipes.abacus.config import Schedule


def rate_at(update: int, schedule: Schedule) -> float:
    """Fraction of the peak rate: up in ``warmup`` updates, flat, down to zero; again and again."""
    bounds = (0, *schedule.restarts, schedule.updates)
    cycle = bisect_right(bounds, update, hi=len(bounds) - 1) - 1
    length = bounds[cycle + 1] - bounds[cycle]
    update -= bounds[cycle]
    start = schedule.decay_from * length
    rising = min(1.0, (update + 1) / schedule.warmup)
    falling = min(1.0, (length - update) / max(1.0, length - start))
    rates = schedule.restart_rates or (1.0,) * len(schedule.restarts)
    return (1.0, *rates)[cycle] * min(rising, falling)


class Optimiser:
    """Two optimisers behind one step."""

    def __init__(self, network: nn.Module, schedule: Schedule) -> None:
        self._schedule = schedule
        matrices = [p for n, p in network.named_parameters() if p.ndim == 2 and "layers." in n]
        inside = {id(p) for p in matrices}
        others = [p for p in network.parameters() if id(p) not in inside]
        self._parts: list[torch.optim.Optimizer] = [
            torch.optim.Muon(
                [{"params": matrices, "scale": 2 * schedule.peak_rate}],
                lr=0.0,
                momentum=0.95,
                weight_decay=0.01,
                adjust_lr_fn="match_rms_adamw",
            ),
            torch.optim.AdamW(
                [{"params": others, "scale": schedule.peak_rate}],
                lr=0.0,
                betas=(0.9, 0.98),
                weight_decay=0.0,
            ),
        ]
        self._network = network

    def step(self, update: int) -> None:
        """Applies the accumulated gradient as update number ``update`` and clears it."""
        nn.utils.clip_grad_norm_(self._network.parameters(), 1.0)
        for part in self._parts:
            for group in part.param_groups:
                group["lr"] = group["scale"] * rate_at(update, self._schedule)
            part.step()
            part.zero_grad(set_to_none=True)

    def state_dict(self) -> list[dict[str, Any]]:
        """Everything needed to go on."""
        return [part.state_dict() for part in self._parts]

    def load_state_dict(self, states: list[dict[str, Any]]) -> None:
        """Goes on from a saved state."""
        for part, state in zip(self._parts, states, strict=True):
            part.load_state_dict(state)
