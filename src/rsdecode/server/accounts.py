"""What an answer cost: usage as OpenAI's clients read it, and FLOPs by role."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rsdecode.core.cost import ModelShape, attended_tokens, exact_flops, paper_flops
from rsdecode.core.types import Role, Trajectory, Usage

Shapes = Mapping[Role, ModelShape | None]


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """Tokens of one answer.

    Attributes:
        prompt: of the conversation, in its first reader's tokenizer.
        cached: of those, found in the KV cache: exactly for one model alone, at least so many for
            RSD, whose ledger counts all of an answer's requests together.
        completion: of the answer, thoughts included, in its writers' tokenizers.
        reasoning: of those, thoughts; their share of the text.
    """

    prompt: int
    cached: int
    completion: int
    reasoning: int


def count_tokens(
    trajectory: Trajectory, prompt: int | None, completion: int, thought_share: float
) -> TokenCounts:
    """The tokens of an answer.

    Args:
        trajectory: of the answer.
        prompt: tokens of the prompt where its tokenizer is known here; else worked out from what
            the first model has read.
        completion: tokens of its text.
        thought_share: share of the text that is thoughts.
    """
    usage = _first_reader(trajectory)
    if prompt is None:
        prompt = _prompt_tokens(trajectory, usage)
    cached = max(0, min(prompt, prompt - usage.prefill_tokens)) if usage.calls else 0
    return TokenCounts(prompt, cached, completion, round(thought_share * completion))


def usage_record(counts: Sequence[TokenCounts]) -> dict[str, Any]:
    """The `usage` of all answers to one prompt, which is counted once."""
    prompt = max((count.prompt for count in counts), default=0)
    completion = sum(count.completion for count in counts)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": max((c.cached for c in counts), default=0)},
        "completion_tokens_details": {"reasoning_tokens": sum(c.reasoning for c in counts)},
    }


def flops_record(trajectory: Trajectory, counts: TokenCounts, shapes: Shapes) -> dict[str, Any]:
    """FLOPs by role, all together, and what the target alone would have needed for as long a text.

    Counted exactly (see `core.cost.exact_flops`), and under `paper` by the paper's rule; None where
    a model's shape is not known. `saved` is the share that was saved against the target alone,
    negative where more was spent.
    """
    exact = {role.value: _flops(_exact, role, trajectory, shapes) for role in Role}
    paper = [_flops(paper_flops, role, trajectory, shapes) for role in Role]
    shape = shapes.get(Role.TARGET)
    alone = None if shape is None else exact_flops(_target_alone(counts), shape)
    written = Usage(decoded_tokens=counts.completion)
    by_rule = None if shape is None else paper_flops(Role.TARGET, written, shape)
    return {
        **exact,
        **_compared(list(exact.values()), alone),
        "paper": _compared(paper, by_rule),
    }


def _compared(spent: Sequence[float | None], alone: float | None) -> dict[str, float | None]:
    known = [value for value in spent if value is not None]
    total = sum(known) if len(known) == len(spent) else None
    saved = None if total is None or not alone else 1.0 - total / alone
    return {"total": total, "target_alone": alone, "saved": saved}


def _exact(_: Role, usage: Usage, shape: ModelShape) -> float:
    return exact_flops(usage, shape)


def _flops(
    count: Callable[[Role, Usage, ModelShape], float],
    role: Role,
    trajectory: Trajectory,
    shapes: Shapes,
) -> float | None:
    usage, shape = trajectory.ledger.of(role), shapes.get(role)
    if usage.prefill_tokens + usage.cached_tokens + usage.decoded_tokens == 0:
        return 0.0
    return None if shape is None else count(role, usage, shape)


def _target_alone(counts: TokenCounts) -> Usage:
    """What the target would have computed for as long a text."""
    return Usage(
        prefill_tokens=counts.prompt,
        decoded_tokens=counts.completion,
        calls=1 if counts.completion else 0,
        attended_tokens=attended_tokens(0, counts.prompt + max(counts.completion - 1, 0)),
    )


def _first_reader(trajectory: Trajectory) -> Usage:
    """Usage of the model that read the prompt first."""
    ledger = trajectory.ledger
    return ledger.draft if ledger.draft.calls else ledger.target


def _prompt_tokens(trajectory: Trajectory, usage: Usage) -> int:
    """From the contexts of all calls: each is the prompt and the steps before."""
    if not usage.calls:
        return 0
    read = usage.prefill_tokens + usage.cached_tokens
    before = 0
    if usage.calls > 1:
        lengths = [step.token_count for step in trajectory.steps]
        before = sum(sum(lengths[:place]) for place in range(min(usage.calls, len(lengths))))
    return max(0, round((read - before) / usage.calls))
