"""How likely a local model finds a given text: engine jobs that read it, and what they give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, pairwise
from typing import cast

import torch
from torch import Tensor

from rsdecode.backends.transformers.failures import not_a_number
from rsdecode.backends.transformers.jobs import Prefill, Prefilled
from rsdecode.backends.transformers.sampling import log_probabilities
from rsdecode.core.errors import ContextFull
from rsdecode.core.requests import Assess, Assessed, Failed, Likelihood, Sampling
from rsdecode.text.prompt import Ids, Prompts

END = -1
"""Stands for the end of the answer among the tokens that are assessed."""


@dataclass(frozen=True, slots=True)
class Assessor:
    """Turns requests to assess into engine jobs, and the engine's replies into likelihoods.

    Attributes:
        eos: ids that end a sequence: the end of the answer is as likely as all of them together.
        max_context: tokens of a sequence at most.
        name: of the model, for messages.
    """

    prompts: Prompts
    eos: frozenset[int]
    max_context: int
    name: str

    def job(self, request: Assess) -> Prefill | Assessed | Failed:
        """Read the steps: the outputs before and at their tokens tell how likely they are."""
        before = self.prompts.context_ids(request.context)
        steps = self._steps(request)
        after = tuple(token for step in steps for token in step)
        ids = (*before, *(after[:-1] if request.ends else after))
        if not after:
            return Assessed(tuple(Likelihood((), ()) for _ in steps))
        if len(ids) > self.max_context:
            return Failed(
                ContextFull(
                    f"the question and its steps are {len(ids)} tokens for {self.name}, which "
                    f"reads at most {self.max_context}: limit the answer's tokens"
                )
            )
        first = len(before) - 1
        marks = tuple(range(first, first + len(after)))
        digest = partial(_likelihoods, after, request.sampling, sorted(self.eos))
        return Prefill(request.session, ids, marks, digest=digest, returns=(len(before),))

    def assessed(self, request: Assess, read: Prefilled) -> Assessed | Failed:
        """The likelihoods of the steps."""
        if read.outputs.isnan().any():
            return Failed(not_a_number())
        logprobs = cast("list[float]", read.outputs[:, 0].tolist())
        firsts = cast("list[bool]", read.outputs[:, 1].bool().tolist())
        steps = self._steps(request)
        ends = accumulate(map(len, steps), initial=0)
        places = map(self._places, steps) if request.places else (() for _ in steps)
        likelihoods = tuple(
            Likelihood(tuple(logprobs[start:end]), tuple(firsts[start:end]), own)
            for (start, end), own in zip(pairwise(ends), places, strict=True)
        )
        return Assessed(likelihoods, read.usage.judging(len(logprobs)))

    def _places(self, step: Ids) -> tuple[int, ...]:
        """Where the tokens of a step end in its text; the end of the answer where the last does."""
        written = self.prompts.places(tuple(token for token in step if token != END))
        return (*written, *written[-1:]) if step[-1:] == (END,) else written

    def _steps(self, request: Assess) -> list[Ids]:
        """The tokens of each step, those of this model's own vocabulary as they were written."""
        steps: list[Ids] = []
        for segment in request.steps:
            known = segment.ids_in(self.prompts.vocabulary)
            steps.append(self.prompts.text_ids(segment.text) if known is None else known)
        if request.ends and steps:
            steps[-1] = (*steps[-1], END)
        return steps


def _likelihoods(
    tokens: Ids, sampling: Sampling, eos: Sequence[int], logits: Tensor, places: Sequence[int]
) -> Tensor:
    """Log-probability of a token, and whether it is the first choice, for each row [n, V]."""
    wanted = [tokens[place] for place in places]
    ids = torch.tensor([max(token, 0) for token in wanted], device=logits.device)
    all_of, best = log_probabilities(logits, sampling), logits.argmax(-1)
    logprobs, firsts = all_of.gather(-1, ids[:, None])[:, 0], best == ids
    if wanted[-1] == END:
        alike = torch.tensor(eos, device=logits.device)
        logprobs[-1] = all_of[-1, alike].logsumexp(-1)
        firsts[-1] = torch.isin(best[-1], alike)
    return torch.stack([logprobs, firsts.to(logprobs.dtype)], dim=-1)
