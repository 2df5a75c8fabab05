"""Tokens as vLLM's servers give them: `/tokenize`, `/detokenize` and `/tokenizer_info`."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from rsdecode.core.errors import RsdError
from rsdecode.server.chat_request import ChatMessage, conversation
from rsdecode.server.errors import ApiError, invalid
from rsdecode.server.requests import check_text
from rsdecode.server.service import Service
from rsdecode.text.codec import Codec

router = APIRouter()
MOST_IDS = 1 << 18
TokenId = Annotated[int, Field(ge=0, le=1 << 31)]
TokenIds = Annotated[list[TokenId], Field(max_length=MOST_IDS)]


class TokenizeRequest(BaseModel):
    """A text, or a conversation, to be tokenised by the target's tokenizer."""

    model_config = ConfigDict(extra="allow")

    model: str | None = None
    prompt: str | None = None
    messages: Annotated[list[ChatMessage], Field(min_length=1)] | None = None
    add_special_tokens: bool = True
    return_token_strs: bool | None = None


class DetokenizeRequest(BaseModel):
    """Token ids of the target's tokenizer."""

    model_config = ConfigDict(extra="allow")

    model: str | None = None
    tokens: TokenIds


@router.post("/tokenize")
async def tokenize(body: TokenizeRequest, request: Request) -> dict[str, Any]:
    """The token ids of a text, or of a conversation up to where its reply begins."""
    codec = codec_of(request)
    if (body.prompt is None) == (body.messages is None):
        raise invalid("give either a prompt or messages", "prompt")
    try:
        if body.messages is not None:
            ids = codec.chat_ids(conversation(body.messages))
        else:
            text = check_text(body.prompt or "", "prompt")
            ids = codec.ids(text, special=body.add_special_tokens)
    except RsdError as error:
        raise invalid(str(error), "prompt") from None
    return {
        "count": len(ids),
        "max_model_len": codec.max_context,
        "tokens": list(ids),
        "token_strs": codec.spellings(ids) if body.return_token_strs else None,
    }


@router.post("/detokenize")
async def detokenize(body: DetokenizeRequest, request: Request) -> dict[str, str]:
    """The text of token ids."""
    try:
        return {"prompt": codec_of(request).text(body.tokens)}
    except ValueError as error:
        raise invalid(str(error), "tokens") from None


@router.get("/tokenizer_info")
async def tokenizer_info(request: Request) -> dict[str, Any]:
    """What a client needs to render conversations itself (lm-eval asks for it)."""
    codec = codec_of(request)
    return {
        "tokenizer_class": codec.name,
        "eos_token": codec.eos,
        "bos_token": codec.bos,
        "pad_token": codec.pad,
        "eos_token_id": codec.eos_id,
        "chat_template": codec.chat_template,
        "model_max_length": codec.max_context,
        "vocab_size": codec.size,
    }


def codec_of(request: Request) -> Codec:
    """The target's tokenizer.

    Raises:
        ApiError: only a server knows it.
    """
    service: Service = request.app.state.service
    if service.codec is None:
        raise ApiError(
            501,
            "the target's tokenizer is not known here: give target_tokenizer in the configuration",
            "not_implemented_error",
        )
    return service.codec
