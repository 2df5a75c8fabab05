"""Training examples, pure functions of (seed, stage, update): a resumed run sees the same data."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from recipes.abacus.tokenizer import BOS, EOS, MARK, SEPARATOR
from rsdecode.models.abacus.generator import LEVELS, generate
from rsdecode.models.abacus.problem import AbacusProblem

IGNORED = -100


class Example(NamedTuple):
    """One row: tokens, the token to predict at each position, and the reward label there."""

    tokens: list[int]
    targets: list[int]
    labels: list[float]  # 1 right so far, 0 wrong, -1 no label
    marks: list[bool]  # where the PRM's score is read


class Batch(NamedTuple):
    """Examples padded on the right; every tensor is [row, token]."""

    tokens: Tensor
    targets: Tensor
    labels: Tensor
    marks: Tensor


def draw_problems(seed: int, stage: str, update: int, count: int) -> list[AbacusProblem]:
    """The training problems of one update, levels in equal parts."""
    rng = Random(f"{stage}/{seed}/{update}")
    levels = list(LEVELS)
    first = rng.randrange(len(levels))
    return [
        generate("train", levels[(first + i) % len(levels)], rng.getrandbits(40), seed=seed)
        for i in range(count)
    ]


def prompt_text(question: str) -> str:
    """What every model of the family reads before the first step."""
    return f"{BOS}{question}\n"


def solution_text(steps: Sequence[str]) -> str:
    """A whole solution as draft and target write it."""
    return SEPARATOR.join(steps) + EOS


def prm_text(steps: Sequence[str]) -> str:
    """A whole solution as the PRM reads it: every step is followed by the mark."""
    return "".join(step + MARK for step in steps)


def language_example(problem: AbacusProblem, tokenizer: PreTrainedTokenizerFast) -> Example:
    """A gold solution; only its own tokens are predicted, not the question."""
    head = encode(prompt_text(problem.question), tokenizer)
    body = encode(solution_text(problem.steps), tokenizer)
    tokens = head + body
    targets = [IGNORED] * (len(head) - 1) + body + [IGNORED]
    return Example(tokens, targets, [-1.0] * len(tokens), [False] * len(tokens))


def encode(text: str, tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """Token ids of a text, nothing added."""
    return tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids


def batches(
    examples: Sequence[Example], pad: int, tokens_per_forward: int, device: torch.device
) -> list[Batch]:
    """Groups examples of similar length so that little of a batch is padding."""
    groups: list[list[Example]] = [[]]
    for example in sorted(examples, key=lambda e: len(e.tokens)):
        if groups[-1] and (len(groups[-1]) + 1) * len(example.tokens) > tokens_per_forward:
            groups.append([])
        groups[-1].append(example)
    return [_collate(group, pad, device) for group in groups]


def _collate(group: Sequence[Example], pad: int, device: torch.device) -> Batch:
    width = max(len(example.tokens) for example in group)

    def stack(rows: list[list[int]] | list[list[float]] | list[list[bool]], fill: float) -> Tensor:
        return torch.tensor([[*row, *[fill] * (width - len(row))] for row in rows], device=device)

    return Batch(
        stack([e.tokens for e in group], pad).long(),
        stack([e.targets for e in group], IGNORED).long(),
        stack([e.labels for e in group], -1.0).float(),
        stack([e.marks for e in group], 0).bool(),
    )
