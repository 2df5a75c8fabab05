"""From tokens to FLOPs, twice: the paper's rule and an exact count."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rsdecode.core.types import Ledger, Role, Usage


@dataclass(frozen=True, slots=True)
class ModelShape:
    """What the FLOPs of a decoder-only transformer depend on.

    Attributes:
        parameters: all of them, shared embeddings counted once.
        layers: number of attention layers.
        attention_width: query heads times head size.
        hidden: width of the residual stream.
        vocabulary: rows of the output embedding; 0 for a reward model with its own small head.
        embedding_parameters: the input embedding, whose look-up costs no FLOPs.
        tied: whether the output layer shares the input embedding's parameters.
    """

    parameters: int
    layers: int = 0
    attention_width: int = 0
    hidden: int = 0
    vocabulary: int = 0
    embedding_parameters: int = 0
    tied: bool = True

    @property
    def matmul_parameters(self) -> int:
        """Parameters that every token is multiplied with: no embedding, no output layer."""
        output = 0 if self.tied else self.vocabulary * self.hidden
        return self.parameters - self.embedding_parameters - output


@dataclass(frozen=True, slots=True)
class Flops:
    """FLOPs of a trajectory or a run; None where a model's shape is not known."""

    paper: float | None
    exact: float | None

    def __add__(self, other: Flops) -> Flops:
        return Flops(_add(self.paper, other.paper), _add(self.exact, other.exact))


def attended_tokens(cached: int, computed: int) -> int:
    """Keys attended to by `computed` tokens that follow `cached` ones: sum of c+1 .. c+n."""
    return computed * cached + computed * (computed + 1) // 2


def paper_flops(role: Role, usage: Usage, shape: ModelShape) -> float:
    """2N per token (paper, Section 4): tokens written by draft and target, tokens read by the PRM.

    A target that verifies proposals is charged for each token that it judges, accepted or not, as
    it runs all of them: n + 1 tokens for a proposal of n. The reward model's tokens are those that
    it really computed, prompt and rejected drafts included; a judge's own output is added.
    """
    read = usage.prefill_tokens if role is Role.REWARD else usage.verified_tokens
    tokens = usage.decoded_tokens + read
    return 2.0 * shape.parameters * tokens


def exact_flops(usage: Usage, shape: ModelShape) -> float:
    """Matrix multiplications that really ran: prefill, decode, attention; cached tokens are free.

    The first token of a reply comes out of the prefill, so decoding n tokens runs n - 1 of them.
    Verified tokens are prefill, and each of them needs the output layer too.
    Scores and soft-max, norms and activations are left out (under 1 % for usual shapes).
    """
    forwarded = usage.prefill_tokens + max(usage.decoded_tokens - usage.calls, 0)
    linear = 2.0 * shape.matmul_parameters * forwarded
    attention = 4.0 * shape.layers * shape.attention_width * usage.attended_tokens
    output = 2.0 * shape.hidden * shape.vocabulary * (usage.decoded_tokens + usage.verified_tokens)
    return linear + attention + output


def flops(ledger: Ledger, shapes: Mapping[Role, ModelShape | None]) -> Flops:
    """FLOPs of all roles together.

    A role whose usage is empty costs nothing; a role without tokens of its own (a rule, a Python
    function) is given no shape and must have no usage beyond its calls.
    """
    total = Flops(0.0, 0.0)
    for role in Role:
        usage = ledger.of(role)
        if usage.prefill_tokens + usage.cached_tokens + usage.decoded_tokens == 0:
            continue
        shape = shapes.get(role)
        if shape is None:
            return Flops(None, None)
        total += Flops(paper_flops(role, usage, shape), exact_flops(usage, shape))
    return total


def _add(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a + b
