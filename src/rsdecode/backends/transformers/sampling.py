"""Draw one token per row. What a row draws depends on its logits and its own number alone.

Axes: B rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rsdecode.core.requests import Sampling

INVALID = -1
"""Stands for a token when the logits are not numbers."""


def sample(logits: Tensor, sampling: Sequence[Sampling], uniforms: Sequence[float]) -> list[int]:
    """Greedy at temperature 0, else the inverse of the cumulative distribution at a number.

    Args:
        logits: [B, V].
        sampling: of each row.
        uniforms: a number in [0, 1) for each row; greedy rows ignore it.

    Returns:
        A token id for each row, `INVALID` where the logits contain NaN.
    """
    logits = logits.float()
    highest, greedy = logits.max(dim=-1)
    tokens = [int(token) for token in greedy.masked_fill(highest.isnan(), INVALID).cpu()]
    for row, options in enumerate(sampling):
        if options.temperature > 0 and tokens[row] != INVALID:
            tokens[row] = _draw(logits[row], options, uniforms[row])
    return tokens


def sample_apart(
    logits: Tensor, sampling: Sequence[Sampling], uniforms: Sequence[float]
) -> Sequence[int | Exception]:
    """As `sample`; where that raises, each row has its token, or what was raised for it alone."""
    try:
        return sample(logits, sampling, uniforms)
    except Exception as error:  # noqa: BLE001  raised for the row by whoever answers it
        if len(sampling) == 1:
            return [error]
    rows = [slice(row, row + 1) for row in range(len(sampling))]
    return [sample_apart(logits[row], sampling[row], uniforms[row])[0] for row in rows]


def _draw(logits: Tensor, options: Sampling, uniform: float) -> int:
    """One token from the logits [V] of one row."""
    if options.top_k == 0 and options.top_p == 1.0:
        return inverse(_probabilities(logits, options.temperature), uniform)
    kept, ids = _likeliest(logits, options)
    return int(ids[inverse(kept, uniform)])


def distribution(logits: Tensor, options: Sampling) -> Tensor:
    """The probabilities [V], float64, from which `sample` draws; a single 1 at temperature 0."""
    everywhere = torch.zeros(logits.shape, dtype=torch.float64, device=logits.device)
    if options.temperature == 0:
        everywhere[logits.argmax()] = 1.0
        return everywhere
    if options.top_k == 0 and options.top_p == 1.0:
        return _probabilities(logits, options.temperature)
    kept, ids = _likeliest(logits, options)
    everywhere[ids] = kept / kept.sum()
    return everywhere


def log_probabilities(logits: Tensor, options: Sampling) -> Tensor:
    """Of all tokens, along the last axis, float32; greedy: the model's own, at temperature 1."""
    if options.temperature == 0 or (options.top_k == 0 and options.top_p == 1.0):
        return (logits.float() / (options.temperature or 1.0)).log_softmax(-1)
    if logits.ndim == 1:
        return distribution(logits, options).log().float()
    return torch.stack([distribution(row, options).log().float() for row in logits])


def _likeliest(logits: Tensor, options: Sampling) -> tuple[Tensor, Tensor]:
    """Weights, 0 outside of the nucleus, and ids of the top-k tokens, the likeliest first."""
    count = min(options.top_k or len(logits), len(logits))
    values, ids = logits.topk(count)
    probabilities = _probabilities(values, options.temperature)
    before = probabilities.cumsum(-1) - probabilities
    return probabilities.masked_fill(before >= options.top_p, 0.0), ids


def _probabilities(logits: Tensor, temperature: float) -> Tensor:
    return ((logits.float() - logits.max()) / temperature).double().softmax(-1)


def inverse(probabilities: Tensor, uniform: float) -> int:
    """First index at which the cumulative weight exceeds `uniform` of the total."""
    cumulative = probabilities.cumsum(-1)
    total = cumulative[-1]
    index = int(torch.searchsorted(cumulative, uniform * total, right=True))
    last = int(torch.nonzero(probabilities)[-1])
    return min(index, last)
