"""Speculative decoding on a local model: its proposals as a draft, its verdicts as a target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rsdecode.backends.transformers.failures import not_a_number
from rsdecode.backends.transformers.jobs import Decode, Decoded, Prefill, Prefilled
from rsdecode.backends.transformers.speculation import Drawn, judge
from rsdecode.core.errors import RequestError
from rsdecode.core.requests import Failed, Proposed, Verified, Verify
from rsdecode.core.speculation import uniforms
from rsdecode.core.types import FinishReason, Segment, Tokens
from rsdecode.text.prompt import Prompts
from rsdecode.text.step_text import Detokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class Speculator:
    """Turns requests to verify into engine jobs, and the engine's replies into verdicts.

    Attributes:
        eos: ids that end a sequence.
        max_context: tokens of a sequence at most.
        name: of the model, for messages.
    """

    prompts: Prompts
    tokenizer: PreTrainedTokenizerBase
    eos: frozenset[int]
    max_context: int
    name: str

    def proposal_job(self, job: Decode) -> Decode:
        """The job that writes a proposal."""
        return replace(job, explained=True)

    def proposed(self, reply: Decoded) -> Proposed:
        """The tokens, and what they were drawn from."""
        assert reply.distributions is not None, "the job asked for them"
        segment = Segment(reply.text, Tokens(self.prompts.vocabulary, reply.ids))
        drawn = Drawn(reply.end, reply.distributions)
        return Proposed(segment, drawn, reply.finish_reason, reply.usage)

    def verification_job(self, request: Verify) -> Prefill | Verified:
        """Read the proposal: the outputs before and at its tokens judge them."""
        context = self.prompts.context_ids(request.context)
        room = self.max_context - len(context)
        if room <= 0:
            nothing = Segment("", Tokens(self.prompts.vocabulary, ()))
            return Verified(nothing, 0, FinishReason.LENGTH)
        ids = (*context, *self._ids(request.proposal)[: room - 1])
        marks = tuple(range(len(context) - 1, len(ids)))
        return Prefill(request.session, ids, marks, returns=(len(context),))

    def verified(self, request: Verify, reply: Prefilled) -> Verified | Failed:
        """What stands of the proposal, and the target's own token after it."""
        logits, drawn = reply.outputs, request.proposal.distributions
        if logits.isnan().any():
            return Failed(not_a_number())
        ids, read = self._ids(request.proposal), len(logits) - 1
        proposed = list(ids[:read])
        if isinstance(drawn, Drawn) and drawn.end is not None and read == len(ids):
            proposed.append(drawn.end)
        verdict = judge(
            proposed,
            drawn.probabilities if isinstance(drawn, Drawn) else logits[:0],
            logits,
            request.sampling,
            uniforms(request.seed, len(proposed) + 1),
        )
        accepted = min(verdict.accepted, read)
        token = proposed[-1] if verdict.token is None else verdict.token
        written = ids[:accepted] if token in self.eos else (*ids[:accepted], token)
        context = self.prompts.context_ids(request.context)
        usage = replace(
            reply.usage, decoded_tokens=1, verified_tokens=read, accepted_tokens=accepted
        )
        return Verified(
            self._segment(context, written), accepted, self._finish(context, written, token), usage
        )

    def _ids(self, proposal: Proposed) -> tuple[int, ...]:
        ids = proposal.segment.ids_in(self.prompts.vocabulary)
        if ids is None:
            raise RequestError(
                f"{self.name} cannot verify tokens of another vocabulary: "
                "speculative decoding needs a draft with the target's tokenizer"
            )
        return ids

    def _segment(self, context: tuple[int, ...], ids: Sequence[int]) -> Segment:
        text = Detokenizer(self.tokenizer, context)
        return Segment(
            "".join(text.add(token) for token in ids), Tokens(self.prompts.vocabulary, tuple(ids))
        )

    def _finish(self, context: Sequence[int], written: Sequence[int], last: int) -> FinishReason:
        if last in self.eos:
            return FinishReason.EOS
        full = len(context) + len(written) >= self.max_context
        return FinishReason.LENGTH if full else FinishReason.STEP_LIMIT
