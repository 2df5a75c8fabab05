"""How likely the target finds a text."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rsdecode.core.errors import ConfigError
from rsdecode.core.protocols import MayNotAssess, Measure, Measured, Measurer
from rsdecode.core.requests import Failed
from rsdecode.core.types import RawPrompt
from rsdecode.server.errors import failed, overloaded, prompt_too_long, unsupported
from rsdecode.server.service import Service
from rsdecode.text.codec import Codec

NOT_MEASURED = (
    "the target does not tell how likely it finds a prompt: load it in this process (hf:), or "
    "serve it with vLLM and name its tokenizer (target_tokenizer)"
)


@dataclass(frozen=True, slots=True)
class Likelihood:
    """A text and the log-probabilities of its tokens.

    Attributes:
        text: of the prompt.
        spelled: the text of each token.
        measured: what the target said.
        codec: spells tokens.
    """

    text: str
    spelled: tuple[str, ...]
    measured: Measured
    codec: Codec

    @property
    def tokens(self) -> int:
        """Tokens of the text."""
        return len(self.spelled)

    @property
    def cached(self) -> int:
        """Those that were found in the cache when the text was first read."""
        return max(0, self.tokens - self.measured.usage.prefill_tokens)

    @property
    def next_text(self) -> str:
        """The likeliest token after the text."""
        return self._spell(self.measured.top[-1][0][0])

    def record(self, top: int, *, and_next: bool) -> dict[str, Any]:
        """As OpenAI's API has it.

        Args:
            top: tokens to name at each place, beside the text's own.
            and_next: with the token after the text.
        """
        tokens, logprobs = list(self.spelled), list(self.measured.logprobs)
        named: list[dict[str, float] | None] = [None]
        for token, own, best in zip(
            self.spelled[1:], self.measured.logprobs[1:], self.measured.top[:-1], strict=True
        ):
            named.append({token: own or 0.0, **self._named(best[:top])})
        if and_next:
            tokens.append(self.next_text)
            logprobs.append(self.measured.top[-1][0][1])
            named.append(self._named(self.measured.top[-1][: max(top, 1)]))
        offsets = [0]
        for token in tokens[:-1]:
            offsets.append(offsets[-1] + len(token))
        return {
            "tokens": tokens,
            "token_logprobs": logprobs,
            "top_logprobs": named if top else None,
            "text_offset": offsets,
        }

    def _named(self, best: Sequence[tuple[int, float]]) -> dict[str, float]:
        """By text; of tokens that are spelled alike, the likelier."""
        return {self._spell(token): value for token, value in reversed(best)}

    def _spell(self, token: int) -> str:
        return self.codec.text([token])


async def measure(service: Service, prompts: Sequence[RawPrompt], top: int) -> list[Likelihood]:
    """How likely the target finds the prompts.

    Raises:
        ApiError: it cannot tell, a prompt is too long, or there is too much to do.
    """
    target, codec = service.models.target, service.target_codec
    if not isinstance(target, Measurer) or codec is None:
        raise unsupported("logprobs", NOT_MEASURED)
    if isinstance(target, MayNotAssess):
        try:
            await asyncio.to_thread(target.check_assesses)
        except ConfigError as error:
            raise unsupported("logprobs", str(error)) from None
    ids = [codec.chat_ids([prompt]) for prompt in prompts]
    for one in ids:
        if codec.max_context is not None and len(one) > codec.max_context:
            raise prompt_too_long(codec.max_context, len(one), "prompt")
    if not service.take_measures(len(ids)):
        service.metrics.refused.labels("queue").inc()
        raise overloaded("too many texts are being measured already: try again in a second")
    try:
        names = [f"measure-{secrets.token_hex(8)}" for _ in ids]
        requests = [Measure(one, top, name) for one, name in zip(ids, names, strict=True)]
        replies = await target.measure(requests)
    finally:
        service.give_back_measures(len(ids))
    return [
        Likelihood(prompt.content, tuple(codec.spellings(one)), _checked(reply), codec)
        for prompt, one, reply in zip(prompts, ids, replies, strict=True)
    ]


def _checked(reply: Measured | Failed) -> Measured:
    if isinstance(reply, Measured):
        return reply
    raise failed(str(reply.error))
