"""A generative verifier: it writes about the solution so far, and then says whether it is correct.

The reward of a step is the probability of "Yes" at the place of the verdict, against "No", for the
solution up to the step. How it is asked is its form (see `verifier_form`). Several verifications,
drawn at a temperature, are averaged. All that it reads and writes is the reward's in the ledger.
"""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import NamedTuple

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
    Score,
    Scored,
)
from rsdecode.core.seeds import derive_seed
from rsdecode.core.segment import Boundary
from rsdecode.core.types import FinishReason, Role, Segment, Usage
from rsdecode.rewards.requests import nothing_to_score
from rsdecode.rewards.verifier_form import FORMS, Form

REMEMBERED = 4096
"""Verifications that later ones follow."""


class _Verified(NamedTuple):
    """P(Yes), what the verifier wrote up to its verdict and with it, and what it cost."""

    chance: float
    said: str
    usage: Usage


class VerifierReward:
    """Reward = P(Yes) / (P(Yes) + P(No)) after a written verification, averaged over several.

    A form whose verifications follow one another (GenPRM) is asked about every step in its order,
    also about those that nobody wants a reward of: what it said of each is kept and read again.

    Args:
        model: a language model that tells how likely it finds a text.
        form: how it is asked.
        samples: verifications of each step.
        temperature: that they are drawn at; None for the form's.
        tokens: of a verification at most; None for the form's.

    Raises:
        ConfigError: the model cannot, or several verifications would all be the same.
    """

    def __init__(
        self,
        model: object,
        form: Form = FORMS["thinkprm"],
        *,
        samples: int = 1,
        temperature: float | None = None,
        tokens: int | None = None,
    ) -> None:
        if not isinstance(model, LanguageModel) or not isinstance(model, Assessor):
            raise ConfigError(NOT_ASSESSED.format(role="verifier"))
        if isinstance(model, MayNotAssess):
            model.check_assesses()
        sampling = form.several if samples > 1 else form.alone
        if temperature is not None:
            sampling = replace(sampling, temperature=temperature)
        if samples > 1 and not sampling.temperature:
            raise ConfigError(
                f"{samples} verifications at temperature 0 are all the same: leave samples out, or "
                "set a temperature above 0"
            )
        self._writer, self._assessor, self._form = model, model, form
        self._samples, self._tokens = samples, form.tokens if tokens is None else tokens
        self._sampling = sampling
        self._said: OrderedDict[Hashable, str] = OrderedDict()

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
        form = self._form
        drawn = f"{self._samples} verifications" if self._samples > 1 else "one verification"
        every = ", in one conversation: steps that the target wrote too" if form.follows else ""
        place = f"{form.stop}{form.verdict}"
        return {
            "kind": f"verifier ({form.title})",
            "reads": f"{form.yes!r} against {form.no!r} after {place!r}",
            "cost": f"{drawn} of each step, of at most {self._tokens} tokens, at temperature "
            f"{self._sampling.temperature:g}{every}",
        }

    def end(self, session: str) -> None:
        """A session is over."""
        for sample in range(self._samples):
            self._end(f"verifier/{session}/{sample}")

    def _end(self, session: str) -> None:
        if isinstance(self._writer, Caching):
            self._writer.end(session)

    def clear(self) -> None:
        """Empty the cache, between two runs."""
        self._said.clear()
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
        run = self._conversation if self._form.follows else self._side_by_side
        usage, means = Usage(), [0.0] * len(request.steps)
        for found in await asyncio.gather(*(run(request, n) for n in range(self._samples))):
            if isinstance(found, Failed):
                return found
            usage = sum((each.usage for each in found), usage)
            wanted = found[-len(means) :]
            means = [mean + each.chance for mean, each in zip(means, wanted, strict=True)]
        return Scored(tuple(mean / self._samples for mean in means), usage)

    async def _side_by_side(self, request: Score, sample: int) -> list[_Verified] | Failed:
        """A verification of each step, by itself."""
        steps, before = _steps(request), len(request.context.answer)
        ends = range(before + 1, len(steps) + 1)
        found = await asyncio.gather(
            *(self._verified(request, steps[:end], sample, ()) for end in ends)
        )
        served = list[_Verified]()
        for each in found:
            if isinstance(each, Failed):
                return each
            served.append(each)
        return served

    async def _conversation(self, request: Score, sample: int) -> list[_Verified] | Failed:
        """Verifications that follow each other; those of the answer before may be known."""
        steps, before = _steps(request), len(request.context.answer)
        said, found = list[str](), list[_Verified]()
        for end in range(1, len(steps) + 1):
            key = (request.context.question, tuple(steps[:end]), sample)
            if end <= before and key in self._said:
                said.append(self._said[key])
                continue
            each = await self._verified(request, steps[:end], sample, said)
            if isinstance(each, Failed):
                return each
            said.append(each.said)
            found.append(each)
            self._said[key] = each.said
            while len(self._said) > REMEMBERED:
                self._said.popitem(last=False)
        return found

    async def _verified(
        self, request: Score, steps: Sequence[str], sample: int, earlier: Sequence[str]
    ) -> _Verified | Failed:
        """One verification."""
        form = self._form
        context = form.asked(request.context.question, steps, earlier)
        place = f"{sample}" if form.follows else f"{len(steps)}/{sample}"
        session = f"verifier/{request.session}/{place}"
        ask = Generate(
            Role.REWARD,
            context,
            self._tokens,
            Boundary(stops=(form.stop,)),
            self._sampling,
            derive_seed("verifier", sample, *steps),
            session,
        )
        [written] = await self._writer.generate([ask])
        if isinstance(written, Failed):
            return written
        ended = written.finish_reason is FinishReason.STOP
        verdict = ("" if ended else form.unfinished) + form.verdict
        parts = (written.segment, *([Segment(verdict)] if verdict else []))
        replies = await self._assessor.assess(
            [
                Assess(context.followed_by(*parts), (Segment(answer),), session=session)
                for answer in (form.yes, form.no)
            ]
        )
        totals, usage = list[float](), written.usage
        for reply in replies:
            if isinstance(reply, Failed):
                return reply
            assert isinstance(reply, Assessed)
            totals.append(reply.steps[0].total)
            usage += reply.usage
        if not form.follows:
            self._end(session)
        chance = 1 / (1 + math.exp(min(700.0, totals[1] - totals[0])))
        said = written.segment.text + verdict + (form.yes if chance >= 0.5 else form.no)
        return _Verified(chance, said, usage)


def _steps(request: Score) -> list[str]:
    """All steps, without the white space around them."""
    return [segment.text.strip() for segment in (*request.context.answer, *request.steps)]
