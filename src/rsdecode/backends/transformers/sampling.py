"""Draw one token per row. What a row draws depends on its logits and its own number alone.

Axes: B rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from rsdecode.core.requests import Sampling

AT_ONCE = 1 << 20
"""Numbers of a batch whose tokens are drawn together: in float64, eight megabytes."""
INVALID = -1
"""Stands for a token when the logits are not numbers."""


def sample(logits: Tensor, sampling: Sequence[Sampling], uniforms: Sequence[float]) -> list[int]:
    """Greedy at temperature 0, else the inverse of the cumulative distribution at a number.

    Everything is computed where the logits are; the host waits once, for the tokens.

    Args:
        logits: [B, V].
        sampling: of each row.
        uniforms: a number in [0, 1) for each row; greedy rows ignore it.

    Returns:
        A token id for each row, `INVALID` where the logits contain NaN.
    """
    logits = logits.float()
    highest, tokens = logits.max(dim=-1)
    for count, drawn in _by_count(sampling, logits.shape[-1]).items():
        at_once = max(1, AT_ONCE // logits.shape[-1])
        for start in range(0, len(drawn), at_once):
            rows = drawn[start : start + at_once]
            options = [
                (sampling[row].temperature, sampling[row].top_p, uniforms[row]) for row in rows
            ]
            if len(rows) == len(logits):
                tokens = _draw(logits, count, options)
            else:
                tokens[rows] = _draw(logits[rows], count, options)
    return cast("list[int]", tokens.masked_fill(highest.isnan(), INVALID).tolist())


def _by_count(sampling: Sequence[Sampling], size: int) -> dict[int, list[int]]:
    """The rows that are drawn, by how many of the likeliest tokens are kept; 0 for all of them."""
    rows: dict[int, list[int]] = {}
    for row, options in enumerate(sampling):
        if options.temperature > 0:
            count = 0 if options.top_k == 0 and options.top_p == 1.0 else options.top_k or size
            rows.setdefault(min(count, size), []).append(row)
    return rows


def _draw(logits: Tensor, count: int, options: Sequence[tuple[float, float, float]]) -> Tensor:
    """One token for each of the rows [R], whose logits [R, V] these are, as each alone would draw.

    All operations are along the vocabulary: a row's numbers do not depend on the others.

    Args:
        logits: float32.
        count: of the likeliest tokens that are kept; 0 for all of them, in their own order.
        options: temperature, top-p and a number in [0, 1) of each row.
    """
    numbers = torch.tensor(options, dtype=torch.float64).to(logits.device)[:, :, None]
    temperatures, top_p, uniforms = numbers.unbind(1)
    ids: Tensor | None = None
    if count:
        logits, ids = logits.topk(count)
    weights = _probabilities(logits, temperatures.float())
    if ids is not None:
        before = weights.cumsum(-1) - weights
        weights = weights.masked_fill(before >= top_p, 0.0)
    cumulative = weights.cumsum(-1)
    found = torch.searchsorted(cumulative, uniforms * cumulative[:, -1:], right=True)
    last = weights.shape[-1] - 1 - (weights > 0).flip(-1).to(torch.uint8).argmax(-1, keepdim=True)
    chosen = torch.minimum(found, last)
    return (chosen if ids is None else ids.gather(-1, chosen))[:, 0]


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


def distribution(logits: Tensor, options: Sampling) -> Tensor:
    """The probabilities [V], float64, from which `sample` draws; a single 1 at temperature 0."""
    everywhere = torch.zeros(logits.shape, dtype=torch.float64, device=logits.device)
    if options.temperature == 0:
        everywhere[logits.argmax()] = 1.0
        return everywhere
    if options.top_k == 0 and options.top_p == 1.0:
        return _probabilities(logits, options.temperature)
    values, ids = logits.topk(min(options.top_k or len(logits), len(logits)))
    probabilities = _probabilities(values, options.temperature)
    before = probabilities.cumsum(-1) - probabilities
    kept = probabilities.masked_fill(before >= options.top_p, 0.0)
    everywhere[ids] = kept / kept.sum()
    return everywhere


def log_probabilities(logits: Tensor, options: Sampling) -> Tensor:
    """Of all tokens, along the last axis, float32; greedy: the model's own, at temperature 1."""
    if options.temperature == 0 or (options.top_k == 0 and options.top_p == 1.0):
        return (logits.float() / (options.temperature or 1.0)).log_softmax(-1)
    if logits.ndim == 1:
        return distribution(logits, options).log().float()
    return torch.stack([distribution(row, options).log().float() for row in logits])


def _probabilities(logits: Tensor, temperature: Tensor | float) -> Tensor:
    """Along the last axis, float64, which the sums of a large vocabulary need."""
    highest = logits.max(-1, keepdim=True).values
    return ((logits.float() - highest) / temperature).double().softmax(-1)


def inverse(probabilities: Tensor, uniform: float) -> int:
    """First index at which the cumulative weight exceeds `uniform` of the total."""
    cumulative = probabilities.cumsum(-1)
    total = cumulative[-1]
    index = int(torch.searchsorted(cumulative, uniform * total, right=True))
    last = int(torch.nonzero(probabilities)[-1])
    return min(index, last)
