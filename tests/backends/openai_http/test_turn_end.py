"""The token that ends turns in the chat template ends the answer, also where the server's list of
ends lacks it."""

from __future__ import annotations

from typing import Any

import pytest

from rsdecode.backends.openai_http import Address, HttpSettings, ServedModel, Transport
from rsdecode.core.requests import Generate, Generated, Sampling
from rsdecode.core.segment import PARAGRAPH, WHOLE_ANSWER, Boundary
from rsdecode.core.types import Context, FinishReason, Message, Role
from tests.backends.openai_http.local_server import Answer, LocalServer, Reply
from tests.text.tokenizers import CHATML, byte_level

TEXT = "It is 4.<|im_end|>\n<|im_start|>user\nAnd 5?"
"""What a model writes whose server does not know the end of its turns."""


def writing_on(kind: str, tokenizer: Any, bodies: list[dict[str, Any]]) -> Answer:
    """A server whose model writes `TEXT`; vLLM ends it where it is told to, llama.cpp cannot."""
    ids: list[int] = tokenizer.encode(TEXT, add_special_tokens=False)

    async def answer(path: str, body: dict[str, Any]) -> Reply:
        if path == "/v1/models":
            card = {"id": "m", "owned_by": kind.replace(".", ""), "max_model_len": 999}
            return Reply(200, {"data": [card | {"meta": {"n_ctx_train": 999}}]})
        if path == "/props" and kind == "llama.cpp":
            return Reply(200, {"default_generation_settings": {"n_ctx": 999}})
        bodies.append(body)
        read = len(body["prompt"])
        written = ids[: body.get("max_tokens") or body.get("n_predict")]
        ends: list[int] = body.get("stop_token_ids", [])
        found = next((place for place, id in enumerate(written) if id in ends), None)
        if found is not None:
            written = written[: found + 1]
        text = tokenizer.decode(written, skip_special_tokens=True)
        if path == "/completion":
            told = {"content": text, "tokens": written, "stop_type": "limit"}
            return Reply(200, told | {"tokens_evaluated": read, "tokens_predicted": len(written)})
        reason = "length" if found is None else "stop"
        choice = {"text": text, "token_ids": written, "finish_reason": reason}
        usage = {"prompt_tokens": read, "completion_tokens": len(written)}
        stop = None if found is None else written[-1]
        return Reply(200, {"choices": [choice | {"stop_reason": stop}], "usage": usage})

    return answer


@pytest.mark.parametrize(
    ("kind", "boundary"),
    [
        ("vllm", PARAGRAPH),
        ("vllm", WHOLE_ANSWER),
        ("vllm", Boundary(tokens=20)),
        ("llama.cpp", Boundary(tokens=20)),
    ],
)
async def test_the_answer_ends_with_its_turn(kind: str, boundary: Boundary) -> None:
    tokenizer, bodies = byte_level(CHATML), list[dict[str, Any]]()
    async with LocalServer(writing_on(kind, tokenizer, bodies)) as server:
        transport = Transport(Address((server.url,), "m"), HttpSettings())
        model = ServedModel(transport, tokenizer=tokenizer)
        context = Context((Message("user", "2 + 2?"),))
        asked = Generate(Role.DRAFT, context, 60, boundary, Sampling(), seed=1)
        [reply] = await model.generate([asked])
    assert isinstance(reply, Generated), reply
    assert reply.segment.text == "It is 4."
    assert reply.finish_reason is FinishReason.EOS
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert bodies[-1].get("stop_token_ids") == ([end] if kind == "vllm" else None)
