"""The engine's side of speculative decoding: `core.speculation` on tensors.

Axes: n tokens of a proposal, its end included; V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from rsdecode.backends.transformers.sampling import distribution, inverse
from rsdecode.core.requests import Sampling
from rsdecode.core.speculation import Judgement


@dataclass(frozen=True, slots=True)
class Drawn:
    """What a proposal was drawn from: the `distributions` of a `Proposed`.

    Attributes:
        end: the end-of-sequence token that was proposed last, if one was.
        probabilities: [n, V], float64.
    """

    end: int | None
    probabilities: Tensor


def judge(
    proposed: Sequence[int],
    drawn: Tensor,
    logits: Tensor,
    sampling: Sampling,
    uniforms: Sequence[float],
) -> Judgement:
    """Exact rejection sampling (see `core.speculation.judge`, whose verdict this is).

    Args:
        proposed: n tokens.
        drawn: [n, V], what they were drawn from.
        logits: [n or n + 1, V], the target's; the last row for a token after a proposal that
            stands.
        sampling: of the target.
        uniforms: n + 1 numbers in [0, 1).
    """
    width = max(drawn.shape[-1], logits.shape[-1])  # models of one tokenizer may pad differently
    for place, token in enumerate(proposed):
        p = _padded(distribution(logits[place], sampling), width)
        q = _padded(drawn[place], width)
        if uniforms[place] * float(q[token]) >= float(p[token]):
            left = (p - q).clamp(min=0.0)
            return Judgement(place, inverse(left if left.any() else p, uniforms[len(proposed)]))
    accepted = len(proposed)
    if len(logits) == accepted:
        return Judgement(accepted, None)
    return Judgement(
        accepted, inverse(distribution(logits[accepted], sampling), uniforms[accepted])
    )


def _padded(probabilities: Tensor, width: int) -> Tensor:
    return functional.pad(probabilities, (0, width - len(probabilities)))
