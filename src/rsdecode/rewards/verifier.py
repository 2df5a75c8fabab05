"""A generative verifier: it writes about the solution so far, and then says whether it is correct.

ThinkPRM (Khalifa et al., "Process Reward Models That Think", arXiv 2504.16828; model cards of
launch/ThinkPRM-1.5B to -14B): the prompt below in the model's chat template, and a verification
that begins with "Let's verify step by step:" and ends with "Is the solution correct? Yes" or "No".
The reward of a step is the probability of " Yes" there, of these two, for the solution up to the
step. A verification that does not come to its end is given the question where it stopped. Several
of them, drawn at a temperature, are averaged. All that it reads and writes is the reward's in the
ledger.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence

from rsdecode.core.cost import ModelShape
from rsdecode.core.errors import ConfigError
from rsdecode.core.protocols import (
    NOT_ASSESSED,
    Assessor,
    Caching,
    Closeable,
    LanguageModel,
    MayNotAssess,
    Noted,
    Sized,
)
from rsdecode.core.requests import (
    Assess,
    Assessed,
    Failed,
    Generate,
    Generated,
    Sampling,
    Score,
    Scored,
)
from rsdecode.core.seeds import derive_seed
from rsdecode.core.segment import Boundary
from rsdecode.core.types import Context, FinishReason, Message, Role, Segment, Usage
from rsdecode.rewards.requests import nothing_to_score

PROMPT = """\
You are given a math problem and a proposed step-by-step solution:

[Math Problem]

{problem}

[Solution]

{solution}

Review and critique each step in the proposed solution to determine whether each step is correct. \
If the solution is incomplete, only verify the provided steps."""
LEAD = "\nLet's verify step by step:"
QUESTION = "Is the solution correct?"
YES, NO = " Yes", " No"
TOKENS = 4096
"""Of a verification at most, as on the model card."""
DRAWN_AT = 0.6
"""Temperature of several verifications where none is set; one alone is greedy."""


class VerifierReward:
    """Reward = P(Yes) / (P(Yes) + P(No)) after a written verification, averaged over several.

    Args:
        model: a language model that tells how likely it finds a text.
        samples: verifications of each step.
        temperature: that they are drawn at; None for 0 where there is one, else 0.6.
        tokens: of a verification at most.

    Raises:
        ConfigError: the model cannot, or several verifications would all be the same.
    """

    def __init__(
        self,
        model: object,
        *,
        samples: int = 1,
        temperature: float | None = None,
        tokens: int = TOKENS,
    ) -> None:
        if not isinstance(model, LanguageModel) or not isinstance(model, Assessor):
            raise ConfigError(NOT_ASSESSED.format(role="verifier"))
        if isinstance(model, MayNotAssess):
            model.check_assesses()
        warm = (DRAWN_AT if samples > 1 else 0.0) if temperature is None else temperature
        if samples > 1 and not warm:
            raise ConfigError(
                f"{samples} verifications at temperature 0 are all the same: leave samples out, or "
                "set a temperature above 0"
            )
        self._writer, self._assessor = model, model
        self._samples, self._tokens = samples, tokens
        self._sampling = Sampling(temperature=warm)

    @property
    def shape(self) -> ModelShape | None:
        """The verifier's sizes, where known."""
        return self._writer.shape if isinstance(self._writer, Sized) else None

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of results must know of it."""
        return self._writer.notes if isinstance(self._writer, Noted) else ()

    def describe(self) -> dict[str, str]:
        """What `rsd doctor` prints."""
        drawn = f"{self._samples} verifications" if self._samples > 1 else "one verification"
        return {
            "kind": "verifier (ThinkPRM's prompt)",
            "reads": f"{YES!r} against {NO!r} after {QUESTION!r}",
            "cost": f"{drawn} of each step, of at most {self._tokens} tokens, at temperature "
            f"{self._sampling.temperature:g}",
        }

    def end(self, session: str) -> None:
        """A session is over."""
        if isinstance(self._writer, Caching):
            self._writer.end(f"verifier/{session}")

    def clear(self) -> None:
        """Empty the cache, between two runs."""
        if isinstance(self._writer, Caching):
            self._writer.clear()

    def close(self) -> None:
        """Close the verifier; safe to call twice."""
        if isinstance(self._writer, Closeable):
            self._writer.close()

    async def score(self, requests: Sequence[Score]) -> list[Scored | Failed]:
        """Verify all steps at once; replies in the order of the requests."""
        return list(await asyncio.gather(*map(self._score, requests)))

    async def _score(self, request: Score) -> Scored | Failed:
        if not request.steps:
            return nothing_to_score()
        before = len(request.context.answer)
        steps = [segment.text.strip() for segment in (*request.context.answer, *request.steps)]
        jobs = [
            self._verified(request, steps[: before + count], sample)
            for count in range(1, len(request.steps) + 1)
            for sample in range(self._samples)
        ]
        found = await asyncio.gather(*jobs)
        values: list[float] = []
        usage = Usage()
        for each in found:
            if isinstance(each, Failed):
                return each
            values.append(each[0])
            usage += each[1]
        rows = range(0, len(values), self._samples)
        means = [math.fsum(values[row : row + self._samples]) / self._samples for row in rows]
        return Scored(tuple(means), usage)

    async def _verified(
        self, request: Score, steps: Sequence[str], sample: int
    ) -> tuple[float, Usage] | Failed:
        """P(Yes) of one verification, and what it cost."""
        context = _asked(request.context.question, steps)
        session = f"verifier/{request.session}/{len(steps)}/{sample}"
        ask = Generate(
            Role.REWARD,
            context,
            self._tokens,
            Boundary(stops=(QUESTION,)),
            self._sampling,
            derive_seed("verifier", sample, *steps),
            session,
        )
        [written] = await self._writer.generate([ask])
        if isinstance(written, Failed):
            return written
        parts = _up_to_question(written)
        answers = [Segment(YES), Segment(NO)]
        replies = await self._assessor.assess(
            [Assess(context.followed_by(*parts), (answer,), session=session) for answer in answers]
        )
        totals: list[float] = []
        usage = written.usage
        for reply in replies:
            if isinstance(reply, Failed):
                return reply
            assert isinstance(reply, Assessed)
            totals.append(reply.steps[0].total)
            usage += reply.usage
        self.end(f"{request.session}/{len(steps)}/{sample}")
        return 1 / (1 + math.exp(min(700.0, totals[1] - totals[0]))), usage


def _asked(problem: str, steps: Sequence[str]) -> Context:
    """The prompt, and the words with which a verification begins."""
    solution = "\n\n".join(f"Step {number}: {step}" for number, step in enumerate(steps, 1))
    text = PROMPT.format(problem=problem.strip(), solution=solution)
    return Context((Message("user", text.encode(errors="replace").decode()),), (Segment(LEAD),))


def _up_to_question(written: Generated) -> tuple[Segment, ...]:
    """A verification up to the question, which is added where it did not come to it."""
    if written.finish_reason is FinishReason.STOP:
        return (written.segment,)
    return (written.segment, Segment(f"\n{QUESTION}"))
