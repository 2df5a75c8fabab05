"""Draw one token per row. What a row draws depends on its logits and its own number alone.

Axes: B rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rsdecode.core.requests import Sampling

AT_ONCE = 1 << 20
"""Numbers of a batch whose tokens are drawn together: in float64, eight megabytes."""
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
    drawn = [row for row, o in enumerate(sampling) if o.temperature > 0 and tokens[row] != INVALID]
    whole = [row for row in drawn if sampling[row].top_k == 0 and sampling[row].top_p == 1.0]
    at_once = max(1, AT_ONCE // logits.shape[-1])
    for start in range(0, len(whole), at_once):
        rows = whole[start : start + at_once]
        chosen = _draw_together(logits[rows], sampling, uniforms, rows)
        for row, token in zip(rows, chosen, strict=True):
            tokens[row] = token
    for row in set(drawn).difference(whole):
        kept, ids = _likeliest(logits[row], sampling[row])
        tokens[row] = int(ids[inverse(kept, uniforms[row])])
    return tokens


def _draw_together(
    logits: Tensor, sampling: Sequence[Sampling], uniforms: Sequence[float], rows: Sequence[int]
) -> list[int]:
    """One token for each of the rows [R], whose logits [R, V] these are, as each alone would draw.

    All operations are along the vocabulary: a row's numbers do not depend on the others.
    """
    place = logits.device
    temperatures = torch.tensor([sampling[row].temperature for row in rows], device=place)
    numbers = torch.tensor([uniforms[row] for row in rows], dtype=torch.float64, device=place)
    scaled = (logits - logits.max(-1, keepdim=True).values) / temperatures[:, None]
    probabilities = scaled.double().softmax(-1)
    cumulative = probabilities.cumsum(-1)
    wanted = numbers[:, None] * cumulative[:, -1:]
    found = torch.searchsorted(cumulative, wanted, right=True)[:, 0]
    last = logits.shape[-1] - 1 - (probabilities > 0).flip(-1).to(torch.uint8).argmax(-1)
    return [int(token) for token in torch.minimum(found, last).cpu()]


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
