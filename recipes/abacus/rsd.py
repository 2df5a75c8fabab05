"""A compact lock-step RSD, only to choose sizes and thresholds while making the family.

The package's own engine measures what is published; this one recomputes every prefix.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import log
from typing import NamedTuple

from transformers import PreTrainedTokenizerFast, Qwen2ForCausalLM

from recipes.abacus.data import Example, encode, prm_text, prompt_text
from recipes.abacus.network import RewardNetwork, parameter_count
from recipes.abacus.prm import score_steps
from recipes.abacus.sample import MAX_STEPS, STEP, Writer, continue_texts
from recipes.abacus.tokenizer import EOS, SEPARATOR
from rsdecode.models.abacus.checker import is_solved
from rsdecode.models.abacus.problem import AbacusProblem


class Family(NamedTuple):
    """The three networks and their tokenizer."""

    draft: Qwen2ForCausalLM
    target: Qwen2ForCausalLM
    prm: RewardNetwork
    tokenizer: PreTrainedTokenizerFast


@dataclass(slots=True)
class Ledger:
    """Tokens by model, and what became of the draft's steps."""

    draft: int = 0
    target: int = 0
    prm: int = 0
    accepted: int = 0
    rejected: int = 0


@dataclass(slots=True)
class Work:
    """One problem on its way."""

    problem: AbacusProblem
    text: str
    steps: list[str] = field(default_factory=list[str])
    done: bool = False


class Outcome(NamedTuple):
    """Which problems were solved, and at what cost in the paper's FLOPs (2N per token)."""

    solved: list[bool]
    ledger: Ledger
    flops: float


def decode(family: Family, problems: Sequence[AbacusProblem], threshold: float) -> Outcome:
    """Greedy RSD: a draft step stays when its reward is at least the threshold."""
    cut = log(threshold / (1 - threshold)) if 0 < threshold < 1 else (1e9 if threshold else -1e9)
    ledger = Ledger()
    works = [Work(problem, prompt_text(problem.question)) for problem in problems]
    for work in works:
        ledger.prm += _count(work.text, family)
    for _ in range(MAX_STEPS):
        open_works = [work for work in works if not work.done]
        if not open_works:
            break
        drafts = _write(family.draft, open_works, family)
        scores = _score(family, open_works, drafts)
        refused = [w for w, score in zip(open_works, scores, strict=True) if score < cut]
        rewritten = iter(_write(family.target, refused, family) if refused else [])
        for work, draft, score in zip(open_works, drafts, scores, strict=True):
            ledger.draft += _count(draft, family)
            ledger.prm += _count(draft, family)
            step = draft
            if score < cut:
                step = next(rewritten)
                ledger.target += _count(step, family)
                ledger.prm += _count(step, family)
            ledger.accepted += score >= cut
            ledger.rejected += score < cut
            work.text += step
            work.steps.append(step)
            work.done = not step.endswith(SEPARATOR)
    solved = [is_solved(work.problem, "".join(work.steps)) for work in works]
    return Outcome(solved, ledger, _flops(family, ledger))


def _write(model: Qwen2ForCausalLM, works: Sequence[Work], family: Family) -> list[str]:
    return continue_texts(Writer(model, family.tokenizer), [work.text for work in works], STEP, 0)


def _score(family: Family, works: Sequence[Work], drafts: Sequence[str]) -> list[float]:
    examples: list[Example] = []
    for work, draft in zip(works, drafts, strict=True):
        steps = [s.replace(SEPARATOR, "").replace(EOS, "") for s in (*work.steps, draft)]
        text = prompt_text(work.problem.question) + prm_text(steps)
        tokens = encode(text, family.tokenizer)
        marks = [False] * (len(tokens) - 1) + [True]
        examples.append(Example(tokens, [], [], marks))
    return [scores[-1] for scores in score_steps(family.prm, examples)]


def _count(text: str, family: Family) -> int:
    return len(encode(text, family.tokenizer))


def _flops(family: Family, ledger: Ledger) -> float:
    return 2.0 * (
        parameter_count(family.draft) * ledger.draft
        + parameter_count(family.target) * ledger.target
        + parameter_count(family.prm) * ledger.prm
    )
