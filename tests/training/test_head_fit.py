from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from rsdecode.training.head_fit import PENALTIES, FittedHead, Steps, fit_head

WIDE = 12


def steps(
    count: int, *, noise: bool = False, scale: float = 1.0, problems: int = 40, known: bool = False
) -> Steps:
    """Steps of which one direction tells whether they are right; or none does.

    Args:
        count: of the steps.
        noise: whether the labels have nothing to do with the features.
        scale: of the features.
        problems: that the steps are of.
        known: whether the head that is trained further tells them already.
    """
    draw = torch.Generator().manual_seed(count)
    features = torch.randn(count, WIDE, generator=draw)
    logits = 3 * features[:, 0] - 2 * features[:, 1] + 1
    told = torch.randn(count, generator=draw) if noise else logits
    right = (torch.rand(count, generator=draw) < told.sigmoid()).float()
    before = logits if known else torch.zeros(count)
    return Steps(features * scale + 5 * scale, right, torch.ones(count), before,
                 [str(at % problems) for at in range(count)])  # fmt: skip


def logits_of(head: FittedHead, given: Steps) -> Tensor:
    return given.features @ head.weight + head.bias


def loss_of(head: FittedHead, given: Steps) -> float:
    return float(functional.binary_cross_entropy_with_logits(logits_of(head, given), given.targets))


def test_what_features_tell_is_learnt_and_noise_is_not() -> None:
    telling, noise = fit_head(steps(2000), 0), fit_head(steps(200, noise=True), 0)
    assert telling.penalty <= 0.03
    assert loss_of(telling, steps(3000)) < 0.4
    assert noise.penalty >= 1
    assert logits_of(noise, steps(200, noise=True)).std() < 0.5


def test_the_penalty_is_that_of_the_lowest_loss_on_other_problems() -> None:
    head = fit_head(steps(150), 3)
    assert set(head.losses) == set(PENALTIES)
    assert head.losses[head.penalty][1] == min(other for _, other in head.losses.values())
    learnt = [head.losses[penalty][0] for penalty in PENALTIES]
    assert learnt == sorted(learnt, reverse=True)  # less penalty, closer to what is learnt from


def test_the_scale_of_features_does_not_matter() -> None:
    plain, scaled = steps(300), steps(300, scale=1000.0)
    assert torch.allclose(
        logits_of(fit_head(plain, 0), plain), logits_of(fit_head(scaled, 0), scaled), atol=0.02
    )


def test_a_head_that_knows_already_is_hardly_changed() -> None:
    given = steps(300, known=True)
    assert logits_of(fit_head(given, 0), given).std() < 0.5


def test_features_that_never_change_and_few_problems_are_no_obstacle() -> None:
    given = steps(30, problems=3)
    given.features[:, 4] = 7.0
    head = fit_head(given, 0)
    assert head.losses == {}
    assert head.weight[4] == pytest.approx(0.0, abs=1e-6)
    assert torch.isfinite(head.weight).all()


def test_steps_without_weight_are_not_learnt_from_and_soft_targets_are_met() -> None:
    given = steps(200)
    only = (torch.arange(200) < 100).float()
    turned = torch.where(only > 0, given.targets, 1 - given.targets)
    one, other = (
        fit_head(Steps(given.features, targets, only, given.before, given.problems), 0)
        for targets in (given.targets, turned)
    )
    assert torch.allclose(one.weight, other.weight)
    soft = Steps(given.features, torch.full((200,), 0.3), given.weights, given.before,
                 given.problems)  # fmt: skip
    assert torch.allclose(
        logits_of(fit_head(soft, 0), given).sigmoid(), torch.tensor(0.3), atol=1e-2
    )
