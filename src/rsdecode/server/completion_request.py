"""A request for the continuation of texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from rsdecode.core.types import RawPrompt, Tokens
from rsdecode.server.errors import invalid
from rsdecode.server.requests import SamplingRequest, check_text
from rsdecode.server.service import Service
from rsdecode.server.tokens import TokenId, TokenIds

MOST_PROMPTS = 256
Texts = Annotated[list[str], Field(min_length=1, max_length=MOST_PROMPTS)]
ManyIds = Annotated[list[TokenIds], Field(min_length=1, max_length=MOST_PROMPTS)]


class CompletionRequest(SamplingRequest):
    """The body of `POST /v1/completions`.

    A prompt is a text or token ids of the target, or a list of such; each is read as it is, without
    a chat template.
    """

    prompt: str | Texts | Annotated[list[TokenId], Field(min_length=1)] | ManyIds
    max_tokens: Annotated[int, Field(ge=0, le=1 << 31)] | None = None
    echo: bool | None = None
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    suffix: str | None = None

    @property
    def prompts(self) -> list[str | list[int]]:
        """The prompts, one by one."""
        prompt = self.prompt
        if isinstance(prompt, str):
            return [prompt]
        if isinstance(prompt[0], int):
            return [prompt]  # type: ignore[list-item]
        return list(prompt)  # type: ignore[arg-type]


async def raw_prompts(prompts: Sequence[str | list[int]], service: Service) -> list[RawPrompt]:
    """The prompts as models read them.

    Args:
        prompts: texts, or ids of the target.
        service: knows their tokenizer, or the server that does.

    Raises:
        ApiError: a prompt is empty, or its ids cannot be read here.
    """
    return [await _raw(prompt, service) for prompt in prompts]


async def _raw(prompt: str | list[int], service: Service) -> RawPrompt:
    if not prompt:
        raise invalid("a prompt must not be empty", "prompt")
    if isinstance(prompt, str):
        return RawPrompt.of(check_text(prompt, "prompt"))
    text = await service.text_of(prompt, "prompt")
    codec = service.codec
    return RawPrompt.of(text, None if codec is None else Tokens(codec.vocabulary, tuple(prompt)))
