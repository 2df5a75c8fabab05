"""Tokens as vLLM's servers give them: `/tokenize`, `/detokenize` and `/tokenizer_info`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from rsdecode.core.errors import RsdError
from rsdecode.server.chat_request import ChatMessage, conversation
from rsdecode.server.errors import invalid, unsupported
from rsdecode.server.requests import check_text
from rsdecode.server.service import NO_TOKENIZER, Service
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
    service: Service = request.app.state.service
    codec = service.codec
    if (body.prompt is None) == (body.messages is None):
        raise invalid("give either a prompt or messages", "prompt")
    if codec is None and body.return_token_strs:
        raise unsupported("return_token_strs", NO_TOKENIZER)
    try:
        ids = await (_ids_there(service, body) if codec is None else _ids_here(codec, body))
    except RsdError as error:
        raise invalid(str(error), "prompt") from None
    return {
        "count": len(ids),
        "max_model_len": service.max_context,
        "tokens": list(ids),
        "token_strs": codec.spellings(ids) if codec and body.return_token_strs else None,
    }


async def _ids_here(codec: Codec, body: TokenizeRequest) -> Sequence[int]:
    if body.messages is not None:
        return codec.chat_ids(conversation(body.messages))
    return codec.ids(check_text(body.prompt or "", "prompt"), special=body.add_special_tokens)


async def _ids_there(service: Service, body: TokenizeRequest) -> Sequence[int]:
    """By the tokenizer of whoever serves the target."""
    tokenizer = service.tokenizer
    if tokenizer is None:
        raise RsdError(NO_TOKENIZER)
    if body.messages is not None:
        return await tokenizer.tokenize_chat(conversation(body.messages))
    text = check_text(body.prompt or "", "prompt")
    return await tokenizer.tokenize(text, special=body.add_special_tokens)


@router.post("/detokenize")
async def detokenize(body: DetokenizeRequest, request: Request) -> dict[str, str]:
    """The text of token ids."""
    service: Service = request.app.state.service
    return {"prompt": await service.text_of(body.tokens, "tokens")}


@router.get("/tokenizer_info")
async def tokenizer_info(request: Request) -> dict[str, Any]:
    """What a client needs to render conversations itself (lm-eval asks for it)."""
    service: Service = request.app.state.service
    if (codec := service.codec) is None:
        raise invalid(NO_TOKENIZER)
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
