"""Puts a step together from what llama.cpp wrote, by the in-process engine's rules.

llama.cpp knows stop strings; we know boundaries. White space and separators at the start of a step
end it for llama.cpp but not for us, so a step may take several requests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rsdecode.backends.llama_cpp.pieces import PieceDetokenizer, Pieces
from rsdecode.backends.openai_http.asks import Answered
from rsdecode.core.requests import Generate, Generated
from rsdecode.core.seeds import derive_seed
from rsdecode.core.types import FinishReason, Segment, Tokens, ToldToken, Usage
from rsdecode.text.step_text import StepText


class Step:
    """One request while it is served.

    Args:
        request: what is asked for.
        prompt: the tokens that the step follows.
        pieces: of the vocabulary.
        vocabulary: its fingerprint.
        context: tokens of a sequence at most.
    """

    def __init__(
        self,
        request: Generate,
        prompt: Sequence[int],
        pieces: Pieces,
        vocabulary: str,
        context: int,
    ) -> None:
        self._request = request
        self._prompt = tuple(prompt)
        self._pieces = pieces
        self._vocabulary = vocabulary
        self._context = context
        self._text = StepText(request.boundary, PieceDetokenizer(pieces, self._prompt))
        self._decoded = 0
        self._usage = Usage()
        self._logprobs: list[float] | None = None
        self._told: list[ToldToken] | None = None if request.told is None else []

    @property
    def ids(self) -> tuple[int, ...]:
        """The prompt and what has been written."""
        return (*self._prompt, *self._text.ids)

    @property
    def text(self) -> str:
        """What has been written."""
        return self._text.text

    @property
    def seed(self) -> int:
        """The request's; each further request for the same step draws anew."""
        seed = self._request.seed
        return derive_seed(seed, self._decoded) if self._decoded else seed

    @property
    def room(self) -> int:
        """Tokens that the next request may write."""
        most = self._request.max_tokens
        if self._request.boundary.tokens:
            most = min(most, self._request.boundary.tokens)
        return min(most - self._decoded, self._context - len(self.ids))

    def detokenizer(self) -> PieceDetokenizer:
        """Makes text of the tokens that follow those here."""
        return PieceDetokenizer(self._pieces, self.ids)

    def take(
        self,
        ids: Sequence[int],
        answered: Answered,
        usage: Usage,
        logprobs: Sequence[float] | None = None,
        told: Sequence[ToldToken] | None = None,
    ) -> Generated | None:
        """Add what a request wrote; the whole step if it is done.

        Args:
            ids: the tokens, without the one that ended the answer.
            answered: why it stopped, and how many tokens were sampled.
            usage: what it cost.
            logprobs: of the tokens, and of the one that ended the answer; None where not wanted.
            told: how likely each of the tokens was, without its text; None where not wanted.
        """
        self._usage += usage
        if logprobs is not None:
            self._logprobs = [*(self._logprobs or ()), *logprobs]
        if self._told is not None:
            self._told += (told or ())[: len(ids)]
        self._decoded += answered.decoded_tokens
        if any(self._text.add(token) for token in ids):
            return self.done(FinishReason.STOP)
        if answered.ended == "eos":
            return self.done(FinishReason.EOS)
        if self._decoded >= self._request.max_tokens:
            return self.done(FinishReason.STEP_LIMIT)
        if self.room <= 0:
            return self.done(FinishReason.LENGTH)
        return None

    def done(self, finish: FinishReason) -> Generated:
        """The step as it is."""
        ids, logprobs = tuple(self._text.ids), self._logprobs
        most = len(ids) + (finish is FinishReason.EOS)
        kept = None if logprobs is None else tuple(logprobs[:most])
        known: tuple[ToldToken, ...] | None = None
        if self._told is not None:
            pairs = zip(self._told, self._text.pieces, strict=False)
            known = tuple(replace(token, text=text) for token, text in pairs)
        segment = Segment(self._text.text, Tokens(self._vocabulary, ids), kept, known)
        return Generated(segment, finish, self._usage)
