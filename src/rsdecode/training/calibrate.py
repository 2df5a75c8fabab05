"""Makes scores honest probabilities: a scale and a shift of their logits (Platt, 1999)."""

from __future__ import annotations

from collections.abc import Sequence

ENOUGH = 20
"""Steps of either kind below which nothing is fitted."""


def fit_scale(logits: Sequence[float], right: Sequence[bool]) -> tuple[float, float] | None:
    """The scale and the shift that make the labels most likely; None for too few steps.

    Platt's smoothed targets keep the fit finite where the logits separate the labels.
    """
    import torch
    from torch.nn import functional

    good = sum(right)
    bad = len(right) - good
    if min(good, bad) < ENOUGH:
        return None
    x = torch.tensor(logits, dtype=torch.float64)
    high, low = (good + 1) / (good + 2), 1 / (bad + 2)
    y = torch.tensor([high if ok else low for ok in right], dtype=torch.float64)
    free = torch.zeros(2, dtype=torch.float64, requires_grad=True)  # log scale, shift
    optimiser = torch.optim.LBFGS([free], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = functional.binary_cross_entropy_with_logits(free[0].exp() * x + free[1], y)
        loss.backward()
        return loss

    optimiser.step(closure)
    return float(free[0].detach().exp()), float(free[1].detach())
