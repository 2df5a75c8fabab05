"""A language model that is a table: small distributions over a small vocabulary, exactly known.

For tests of laws, ours and yours: what is drawn can be compared with what must be drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import takewhile
from math import inf, log
from typing import TypeVar, cast

from rsdecode.core.cost import ModelShape, attended_tokens
from rsdecode.core.errors import RequestError, RsdError
from rsdecode.core.requests import (
    Assess,
    Assessed,
    Failed,
    Generate,
    Generated,
    Likelihood,
    Propose,
    Proposed,
    Sampling,
    Verified,
    Verify,
)
from rsdecode.core.speculation import draw, judge, uniforms
from rsdecode.core.types import Context, FinishReason, Role, Segment, Tokens, ToldToken, Usage

Request = TypeVar("Request")
Reply = TypeVar("Reply")
Ids = tuple[int, ...]
Next = Callable[[Ids], Sequence[float]]
"""Gives the probabilities of the next token after the answer's tokens so far."""


class CategoricalModel:
    """Writes, proposes and verifies tokens; word 0 of the vocabulary is the end of sequence.

    Args:
        words: text of each token; that of token 0 is never written.
        following: probabilities of the next token, one for each word; they sum to 1.
        vocabulary: fingerprint; models that share it exchange token ids.
        max_context: tokens of an answer at most.
        shape: for FLOPs.
    """

    def __init__(
        self,
        words: Sequence[str],
        following: Next,
        *,
        vocabulary: str = "categorical",
        max_context: int = 10**6,
        shape: ModelShape | None = None,
    ) -> None:
        self._words = tuple(words)
        self._following = following
        self._max_context = max_context
        self.vocabulary = vocabulary
        self.shape = shape
        self._tells_logprobs = False

    def tell_logprobs(self) -> None:
        """From now on, segments carry the log-probabilities of their tokens."""
        self._tells_logprobs = True

    def check_tokens(self) -> None:
        """It tells how likely its tokens were."""

    def check_guesses(self) -> None:
        """It reads guesses."""

    async def generate(self, requests: Sequence[Generate]) -> list[Generated | Failed]:
        """Draw tokens until the request's boundary, its limit or the end of the sequence."""
        return [_or_failed(self._write, request) for request in requests]

    async def propose(self, requests: Sequence[Propose]) -> list[Proposed | Failed]:
        """Draw tokens and tell from which distributions."""
        return [_or_failed(self._propose, request) for request in requests]

    async def verify(self, requests: Sequence[Verify]) -> list[Verified | Failed]:
        """Judge proposals by exact rejection sampling."""
        return [_or_failed(self._verify, request) for request in requests]

    async def assess(self, requests: Sequence[Assess]) -> list[Assessed | Failed]:
        """Look up how likely the tokens of given steps are."""
        return [_or_failed(self._assess, request) for request in requests]

    def distribution(self, before: Ids, sampling: Sampling) -> list[float]:
        """What the next token is drawn from."""
        return shaped(self._following(before), sampling)

    def _write(self, request: Generate) -> Generated:
        before = self._ids(request.context)
        begun = self._ids(Context((), (request.begun,) if request.begun else ()))
        guess = self._ids(Context((), (request.guess,) if request.guess else ()))
        until = (*begun, *guess) if request.pauses else None
        ids, _, finish = self._draw(before, request, begun, until)
        ends = finish is FinishReason.EOS
        segment = self._segment(ids)
        if self._tells_logprobs:
            written = (*ids, 0) if ends else ids
            logprobs = self._likelihood(before, written, request.sampling).logprobs
            segment = replace(segment, logprobs=logprobs)
        if request.told is not None:
            segment = replace(segment, told=self._told(before, ids, request.told))
        written = len(ids) - len(begun) + ends
        usage = self._usage((*before, *begun), written)
        read = guess[: max(request.max_tokens - len(begun) - 1, 0)]
        return Generated(segment, finish, _verifying(usage, read, ids[len(begun) :], written))

    def _told(self, before: Ids, ids: Ids, count: int) -> tuple[ToldToken, ...]:
        found: list[ToldToken] = []
        for place, token in enumerate(ids):
            row = self._following((*before, *ids[:place]))
            best = sorted(range(len(row)), key=lambda i: -row[i])[:count]
            top = tuple((self._words[i], log(row[i]) if row[i] else -inf) for i in best)
            found.append(ToldToken(self._words[token], log(row[token]), top))
        return tuple(found)

    def _assess(self, request: Assess) -> Assessed:
        before, found = self._ids(request.context), list[Likelihood]()
        for place, segment in enumerate(request.steps):
            ids = self._ids(Context((), (segment,)))
            last = request.ends and place == len(request.steps) - 1
            found.append(self._likelihood(before, (*ids, 0) if last else ids, request.sampling))
            before += ids
        judged = sum(len(likelihood.logprobs) for likelihood in found)
        read = len(before)
        usage = Usage(read, 0, 0, 1, 0.0, attended_tokens(0, read), verified_tokens=judged)
        return Assessed(tuple(found), usage)

    def _likelihood(self, before: Ids, ids: Ids, sampling: Sampling) -> Likelihood:
        """How likely tokens are after others, the end of the sequence among them."""
        sampling = replace(sampling, temperature=sampling.temperature or 1.0)
        rows = [self.distribution((*before, *ids[:i]), sampling) for i in range(len(ids))]
        pairs = list(zip(ids, rows, strict=True))
        logprobs = tuple(log(row[i]) if row[i] else -inf for i, row in pairs)
        return Likelihood(logprobs, tuple(row[i] == max(row) for i, row in pairs))

    def _propose(self, request: Propose) -> Proposed:
        before = self._ids(request.context)
        drawn = Generate(
            Role.DRAFT, request.context, request.count, sampling=request.sampling, seed=request.seed
        )
        ids, rows, finish = self._draw(before, drawn)
        usage = self._usage(before, len(ids) + (finish is FinishReason.EOS))
        return Proposed(self._segment(ids), rows, finish, usage)

    def _verify(self, request: Verify) -> Verified:
        before, proposal = self._ids(request.context), request.proposal
        ids = proposal.segment.ids_in(self.vocabulary)
        if ids is None:
            raise RequestError(f"the proposal is not in the vocabulary {self.vocabulary!r}")
        rows = cast("list[list[float]]", proposal.distributions)
        ends = proposal.finish_reason is FinishReason.EOS
        proposed = (*ids, 0) if ends else ids
        places = range(len(ids) + 1)  # before each proposed id, and after the last of them
        target = [self.distribution((*before, *ids[:i]), request.sampling) for i in places]
        numbers = uniforms(request.seed, len(proposed) + 1)
        accepted, token = judge(proposed, rows, target, numbers)
        accepted = min(accepted, len(ids))
        written = ids[:accepted] if not token else (*ids[:accepted], token)
        finish = FinishReason.STEP_LIMIT if token else FinishReason.EOS
        if token and len(before) + len(written) >= self._max_context:
            finish = FinishReason.LENGTH
        read = len(before) + len(ids)
        usage = Usage(
            prefill_tokens=read,
            decoded_tokens=1,
            calls=1,
            attended_tokens=attended_tokens(0, read),
            verified_tokens=len(ids),
            accepted_tokens=accepted,
        )
        return Verified(self._segment(written), accepted, finish, usage)

    def _draw(
        self, before: Ids, request: Generate, begun: Ids = (), until: Ids | None = None
    ) -> tuple[Ids, list[list[float]], FinishReason]:
        """The step's tokens, what each new one was drawn from (the end too), and why it is over.

        Args:
            before: the answer so far.
            request: of the step.
            begun: the first of its tokens, which were drawn before.
            until: the first token that is not the next of these is the last; None to go on.
        """
        ids, boundary = begun, request.boundary
        rows: list[list[float]] = []
        for number in uniforms(request.seed, request.max_tokens)[len(begun) :]:
            if len(before) + len(ids) >= self._max_context:
                return ids, rows, FinishReason.LENGTH
            rows.append(self.distribution((*before, *ids), request.sampling))
            token = draw(rows[-1], number)
            if token == 0:
                return ids, rows, FinishReason.EOS
            ids = (*ids, token)
            if boundary.end(self._segment(ids).text) or len(ids) == boundary.tokens:
                return ids, rows, FinishReason.STOP
            if until is not None and ids != until[: len(ids)]:
                break
        return ids, rows, FinishReason.STEP_LIMIT

    def _ids(self, context: Context) -> Ids:
        """The answer so far; the question does not matter."""
        ids: Ids = ()
        for segment in context.answer:
            own = segment.ids_in(self.vocabulary)
            if own is None:
                raise RequestError(f"{segment.text!r} is not in the vocabulary {self.vocabulary!r}")
            ids += own
        return ids

    def _segment(self, ids: Ids) -> Segment:
        return Segment("".join(self._words[i] for i in ids), Tokens(self.vocabulary, ids))

    def _usage(self, before: Ids, decoded: int) -> Usage:
        computed = len(before) + max(decoded - 1, 0)
        return Usage(len(before), 0, decoded, 1, 0.0, attended_tokens(0, computed))


def _verifying(usage: Usage, guess: Ids, written: Ids, count: int) -> Usage:
    """The usage of writing `count` tokens, of which those that begin `guess` needed no pass."""
    pairs = zip(guess, written, strict=False)
    right = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    right = min(right, count - 1)
    read = len(guess)
    wrong = attended_tokens(usage.prefill_tokens + right, read - right)
    return replace(
        usage,
        prefill_tokens=usage.prefill_tokens + read,
        decoded_tokens=usage.decoded_tokens - right,
        attended_tokens=usage.attended_tokens + wrong,
        verified_tokens=read,
        accepted_tokens=right,
    )


def shaped(probabilities: Sequence[float], sampling: Sampling) -> list[float]:
    """The probabilities after temperature, top-k and top-p."""
    order = sorted(range(len(probabilities)), key=lambda i: -probabilities[i])
    if sampling.temperature == 0.0:
        return [float(i == order[0]) for i in range(len(probabilities))]
    highest = probabilities[order[0]]
    weights = [(p / highest) ** (1.0 / sampling.temperature) for p in probabilities]
    kept = order[: sampling.top_k or len(order)]
    total, before = sum(weights[i] for i in kept), 0.0
    result = [0.0] * len(weights)
    for i in kept:
        if before < sampling.top_p * total:
            result[i] = weights[i]
        before += weights[i]
    whole = sum(result)
    return [weight / whole for weight in result]


def _or_failed(serve: Callable[[Request], Reply], request: Request) -> Reply | Failed:
    try:
        return serve(request)
    except RsdError as error:
        return Failed(error)
