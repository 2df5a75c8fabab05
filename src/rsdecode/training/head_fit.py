"""Fits the head alone: logistic regression on features that are there, as far as labels carry it.

A head has as many weights as the backbone is wide, and labels are few: without a penalty it learns
them by heart. How strong the penalty is to be is found by cross-validation, whose parts share no
problem; the held-out problems have no say in it.

Axes: S steps, H hidden size.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rsdecode.training.train_model import reward_loss

PENALTIES = (10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.001)
"""Of half the squared length of what is learnt, beside the mean loss of a step."""
PARTS = 5
"""Of the problems, for cross-validation."""
_UPDATES = 200


@dataclass(frozen=True, slots=True)
class Steps:
    """What is learnt from.

    Attributes:
        features: [S, H].
        targets: [S], how right each is, in [0, 1].
        weights: [S].
        before: [S], reward logits of the head that is trained further; 0 for a new one.
        problems: of each step.
    """

    features: Tensor
    targets: Tensor
    weights: Tensor
    before: Tensor
    problems: Sequence[str]

    def at(self, chosen: Tensor) -> Steps:
        """Those for which `chosen` [S] is true."""
        return Steps(
            self.features[chosen],
            self.targets[chosen],
            self.weights[chosen],
            self.before[chosen],
            [name for name, ok in zip(self.problems, chosen, strict=True) if ok],
        )


@dataclass(frozen=True, slots=True)
class FittedHead:
    """What is added to the reward logits.

    Attributes:
        weight: [H], of the features as they are.
        bias: one number.
        penalty: that was chosen.
        losses: of each penalty that was tried: of the problems that were learnt from, and of those
            that were not; empty where there are too few problems to try.
    """

    weight: Tensor
    bias: float
    penalty: float
    losses: dict[float, tuple[float, float]]


def fit_head(steps: Steps, seed: int) -> FittedHead:
    """Learn the head, with the penalty under which other problems are predicted best.

    Args:
        steps: at least one.
        seed: of the parts for cross-validation.
    """
    mean = steps.features.mean(0)
    spread = steps.features.std(0, correction=0)
    spread = torch.where(spread > 1e-6, spread, 1.0)  # what never changes tells nothing
    even = Steps(
        (steps.features - mean) / spread,
        steps.targets, steps.weights, steps.before, steps.problems,
    )  # fmt: skip
    losses = _cross_validate(even, seed)
    chosen = min(losses, key=lambda penalty: losses[penalty][1]) if losses else PENALTIES[2]
    weight, bias = _fit(even, chosen)
    weight = weight / spread
    return FittedHead(weight, float(bias - weight @ mean), chosen, losses)


def _cross_validate(steps: Steps, seed: int) -> dict[float, tuple[float, float]]:
    names = sorted(set(steps.problems))
    if len(names) < PARTS:
        return {}
    random.Random(seed).shuffle(names)
    part_of = {name: place % PARTS for place, name in enumerate(names)}
    parts = torch.tensor([part_of[problem] for problem in steps.problems])
    found = dict.fromkeys(PENALTIES, (0.0, 0.0))
    whole = max(float(steps.weights.sum()), 1e-9)
    for part in range(PARTS):
        inside, outside = steps.at(parts != part), steps.at(parts == part)
        share = float(outside.weights.sum()) / whole
        for penalty, (known, other) in found.items():
            head = _fit(inside, penalty)
            found[penalty] = (
                known + float(_loss(inside, *head)) * (1 - share) / (PARTS - 1),
                other + float(_loss(outside, *head)) * share,
            )
    return found


def _fit(steps: Steps, penalty: float) -> tuple[Tensor, Tensor]:
    weight = torch.zeros(steps.features.shape[1], requires_grad=True)
    bias = torch.zeros((), requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [weight, bias], max_iter=_UPDATES, line_search_fn="strong_wolfe"
    )  # fmt: skip

    def loss() -> float:
        optimiser.zero_grad()
        value = _loss(steps, weight, bias) + penalty * (weight @ weight) / 2
        value.backward()  # pyright: ignore[reportUnknownMemberType]
        return value.item()

    optimiser.step(loss)  # pyright: ignore[reportUnknownMemberType]
    return weight.detach(), bias.detach()


def _loss(steps: Steps, weight: Tensor, bias: Tensor) -> Tensor:
    logits = steps.before + steps.features @ weight + bias
    return reward_loss(logits, steps.targets, steps.weights)
