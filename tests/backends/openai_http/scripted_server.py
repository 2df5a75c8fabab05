"""Servers of each kind whose model is a function from a question to its whole answer."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from typing import Any

from rsdecode.core.requests import Generate
from tests.backends.openai_http.local_server import Answer, Reply

NAME = "scripted"


def solution(question: str, role: str) -> str:
    """Three steps and a boxed answer, all of them telling of question and role."""
    steps = [f"{role} step {i} of {question}.\n\n" for i in range(2)]
    return "".join(steps) + f"The answer is \\boxed{{{question}}}."


def step_of(request: Generate) -> str:
    """The same as a scripted model's function: what follows the answer so far."""
    return continuation(request.context.question, request.role.value, len(request.context.answer))


def continuation(question: str, role: str, written: int) -> str:
    """The steps of a solution from number `written` on."""
    parts = solution(question, role).split("\n\n")
    return "\n\n".join(parts[written:])


def grades(prompt: str) -> dict[str, float]:
    """Log-probabilities of two grades and of something else, decided by the prompt's text."""
    draw = hashlib.blake2b(prompt.encode(), digest_size=1).digest()[0] / 255
    high = 0.01 + 0.9 * draw
    return {"9": math.log(high), "0": math.log(0.95 - high), "maybe": math.log(0.05)}


def vllm(role: str, solve: Callable[[str, str, int], str] = continuation) -> Answer:
    """vLLM without a tokenizer on our side: the chat endpoint, continued; a word is a token."""

    async def answer(path: str, body: dict[str, Any]) -> Reply:
        if path == "/v1/models":
            card = {"id": NAME, "owned_by": "vllm", "max_model_len": 4096}
            return Reply(200, {"data": [card]})
        if path != "/v1/chat/completions":
            return Reply(404, {"error": {"message": f"no route {path}"}})
        if body["model"] != NAME:
            message = f"The model `{body['model']}` does not exist."
            return Reply(404, {"error": {"message": message}})
        messages = body["messages"]
        reply = messages[-1]["content"] if messages[-1]["role"] == "assistant" else ""
        assert bool(reply) == body.get("continue_final_message", False)
        question = next(m["content"] for m in reversed(messages) if m["role"] == "user")
        prompt = len(" ".join(m["content"] for m in messages).split())
        text = solve(question, role, reply.count("\n\n"))
        stop, end = first_stop(text, body.get("stop", ()))
        choice: dict[str, Any] = {
            "message": {"content": text[:end]},
            "finish_reason": "stop",
            "stop_reason": stop,
        }
        if body.get("logprobs"):
            listed = [{"token": t, "logprob": p} for t, p in grades(question).items()]
            choice["logprobs"] = {"content": [{"top_logprobs": listed}]}
        decoded = max(1, len(text[:end].split()))
        if decoded > body["max_tokens"]:
            choice["finish_reason"] = "length"
        usage = {"prompt_tokens": prompt, "completion_tokens": decoded}
        return Reply(200, {"choices": [choice], "usage": usage})

    return answer


def first_stop(text: str, stops: Any) -> tuple[str | None, int]:
    """The stop string that comes first in `text`, and where it ends."""
    found = [(text.index(stop) + len(stop), stop) for stop in stops if stop in text]
    end, stop = min(found, default=(len(text), None))
    return stop, end
