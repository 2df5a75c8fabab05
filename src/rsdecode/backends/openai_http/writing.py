"""Puts a step together from what a server wrote.

A server knows stop strings; we know boundaries. White space and separators at the start of a step
end it for the server but not for us, so a step may take several requests. Where the token ids are
known the text is made from them here, by the same rules as in the in-process engine.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from rsdecode.backends.openai_http.asks import Answered
from rsdecode.backends.openai_http.remedies import keeps_tokens
from rsdecode.backends.openai_http.showing import Preview
from rsdecode.core.errors import RequestError
from rsdecode.core.requests import Generate, Generated
from rsdecode.core.seeds import derive_seed
from rsdecode.core.types import Context, FinishReason, Segment, Tokens, ToldToken, Usage
from rsdecode.text.step_text import LONGEST_CHARACTER, Detokenizer, StepText

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class StepAssembly:
    """One request while it is served.

    Args:
        request: what is asked for.
        tokenizer: of the model; None where it is not known.
        vocabulary: its fingerprint.
        turn_end: the token that ends a reply in the chat template, where it is known. A server
            whose list of ends lacks it would write on.
    """

    def __init__(
        self,
        request: Generate,
        tokenizer: PreTrainedTokenizerBase | None = None,
        vocabulary: str | None = None,
        turn_end: int | None = None,
    ) -> None:
        self.request = request
        self._tokenizer = tokenizer
        self._vocabulary = vocabulary
        self._turn_end = turn_end
        self._step: StepText | None = None
        self._text = ""
        self._decoded = 0
        self._usage = Usage()
        self._logprobs: list[float] | None = None
        self._told: list[ToldToken] = []

    @property
    def context(self) -> Context:
        """The request's context and what has been written of the step."""
        context = self.request.context
        return context.followed_by(self.segment) if self._text else context

    @property
    def seed(self) -> int:
        """The request's; each further request for the same step draws anew."""
        seed = self.request.seed
        return derive_seed(seed, self._decoded) if self._decoded else seed

    @property
    def room(self) -> int:
        """Tokens that the step may still take."""
        most = self.request.max_tokens
        if self.request.boundary.tokens:
            most = min(most, self.request.boundary.tokens)
        return most - self._decoded

    @property
    def segment(self) -> Segment:
        """What has been written."""
        known = None if self._logprobs is None else tuple(self._logprobs)
        if self._step is None or self._vocabulary is None:
            return Segment(self._text, logprobs=known)
        ids = tuple(self._step.ids)
        return Segment(self._text, Tokens(self._vocabulary, ids), known)

    def take(
        self, answered: Answered, usage: Usage, prompt: tuple[int, ...] | None
    ) -> Generated | None:
        """Add a server's reply; the whole step if it is done.

        Args:
            answered: the reply.
            usage: what it cost.
            prompt: the token ids that it continues, where the model was sent ids.

        Raises:
            RequestError: tokens were paid for, and no text came back.
        """
        first = self._usage.calls == 0
        self._usage += usage
        self._decoded += answered.decoded_tokens
        if answered.logprobs is not None:
            self._logprobs = [*(self._logprobs or ()), *answered.logprobs]
        self._told += answered.written or ()
        by_ids = answered.ids is not None and prompt is not None and self._tokenizer is not None
        answered = answered.ended_at(self._turn_end)
        _check_text(answered, by_ids=by_ids)
        if self._add(answered, prompt, first=first):
            return self._done(FinishReason.STOP)
        if answered.ended == "eos":
            return self._done(FinishReason.EOS)
        if self._decoded >= self.request.max_tokens:
            return self._done(FinishReason.STEP_LIMIT)
        if answered.ended == "limit":
            chunk = self.request.boundary.tokens
            full = not chunk or self._decoded < chunk
            return self._done(FinishReason.LENGTH if full else FinishReason.STOP)
        return None

    def preview(self, prompt: tuple[int, ...] | None) -> Preview:
        """What shows the text of the next reply while it is being written.

        Args:
            prompt: the token ids that it continues, where the model is sent ids.
        """
        by_ids = self._tokenizer is not None and prompt is not None
        if by_ids and (self._step is not None or not self._usage.calls):
            assert self._tokenizer is not None
            assert prompt is not None
            return Preview(self._text, Detokenizer(self._tokenizer, prompt))
        return Preview(self._text, None)

    def full(self) -> Generated:
        """The step as it is, when the model's context has no room for more."""
        return self._done(FinishReason.LENGTH)

    def _add(self, answered: Answered, prompt: tuple[int, ...] | None, *, first: bool) -> bool:
        """Append text and ids; True when the step has reached its boundary."""
        if answered.ids is None or prompt is None or self._tokenizer is None:
            self._step = None
            return self._add_text(answered.text)
        if first:
            detokenizer = Detokenizer(self._tokenizer, prompt)
            self._step = StepText(self.request.boundary, detokenizer)
        if self._step is None:
            return self._add_text(answered.text)
        ended = any(self._step.add(token) for token in self._written(answered))
        self._text = self._step.text
        return ended

    def _add_text(self, text: str) -> bool:
        self._text += text
        end = self.request.boundary.end(self._text) if self.request.boundary.stops else None
        if end is None:
            return False
        if self._text[end:].strip():
            self._text = self._text[:end]
        return True

    def _written(self, answered: Answered) -> tuple[int, ...]:
        """The ids without the one that ended the answer, which is no part of it."""
        ids = answered.ids or ()
        tokenizer = self._tokenizer
        if answered.ended != "eos" or not ids or tokenizer is None:
            return ids
        special = ids[-1] == answered.end_id or ids[-1] in tokenizer.all_special_ids
        return ids[:-1] if special else ids

    def _done(self, finish: FinishReason) -> Generated:
        segment = self.segment
        if segment.logprobs is not None and segment.tokens is not None:  # without what was cut off
            kept = len(segment.tokens.ids) + (finish is FinishReason.EOS)
            segment = replace(segment, logprobs=segment.logprobs[:kept])
        if self.request.told is not None:
            segment = replace(segment, told=self._kept())
        return Generated(segment, finish, self._usage)

    def _kept(self) -> tuple[ToldToken, ...]:
        """The tokens of the text, without those that were cut off."""
        if self._step is not None:
            pairs = zip(self._step.pieces, self._told, strict=False)
            return tuple(replace(token, text=text) for text, token in pairs)
        kept, at = list[ToldToken](), 0
        for token in self._told:
            if at < len(self._text):
                kept.append(replace(token, text=token.text[: len(self._text) - at]))
            at += len(token.text)
        return tuple(kept)


def _check_text(answered: Answered, *, by_ids: bool) -> None:
    """Asking again would cost the same and bring the same: nothing.

    An end alone is no text, and a character may take several tokens; anything else shows.

    Raises:
        RequestError: tokens were paid for, and no text came back.
    """
    if answered.text or (by_ids and answered.ended == "limit"):
        return
    most = 0 if answered.ended == "stop" else LONGEST_CHARACTER
    if answered.decoded_tokens > most or answered.ended == "stop":
        raise RequestError(keeps_tokens(answered.decoded_tokens))
