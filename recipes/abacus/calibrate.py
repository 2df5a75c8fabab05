"""Makes the PRM's scores honest probabilities: a scale and a shift, folded into the value head."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional
from transformers import PreTrainedTokenizerFast

from recipes.abacus.label import Sample
from recipes.abacus.negatives import reward_example
from recipes.abacus.network import RewardNetwork
from recipes.abacus.prm import score_steps
from recipes.abacus.tokenizer import build_tokenizer


def scored_steps(
    network: RewardNetwork, samples: Sequence[Sample], tokenizer: PreTrainedTokenizerFast
) -> tuple[list[float], list[bool]]:
    """The reward logit of every written step of every sample, and whether the step is right."""
    examples = [
        reward_example(sample.problem(), sample.steps, sample.wrong, tokenizer)
        for sample in samples
    ]
    logits: list[float] = []
    right: list[bool] = []
    for sample, scores in zip(samples, score_steps(network, examples), strict=True):
        last = len(scores) - 1
        for i in range(sample.given, len(scores)):
            logits.append(scores[i])
            right.append(not (sample.wrong and i == last))
    return logits, right


def fit(logits: Sequence[float], right: Sequence[bool]) -> tuple[float, float]:
    """The scale and shift of the logits that make the labels most likely (Platt)."""
    x = torch.tensor(logits, dtype=torch.float64)
    y = torch.tensor(right, dtype=torch.float64)
    free = torch.tensor([0.0, 0.0], dtype=torch.float64, requires_grad=True)  # log scale, shift
    optimiser = torch.optim.LBFGS([free], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = functional.binary_cross_entropy_with_logits(free[0].exp() * x + free[1], y)
        loss.backward()
        return loss

    optimiser.step(closure)
    return float(free[0].detach().exp()), float(free[1].detach())


def calibrate(network: RewardNetwork, samples: Sequence[Sample]) -> tuple[float, float]:
    """Fits on validation samples and folds the result into the value head, in place."""
    scale, shift = fit(*scored_steps(network, samples, build_tokenizer()))
    head = network.v_head.summary
    with torch.no_grad():
        head.weight.mul_(scale)
        head.bias.mul_(scale).add_(shift)
    print(f"calibration: scale {scale:.3f}, shift {shift:+.3f}", flush=True)
    return scale, shift
