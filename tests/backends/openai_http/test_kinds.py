"""What servers were seen to do with thoughts, templates, caches and chats alone, and what we do.

Forms of replies as seen from vLLM 0.32.0 (served with and without a reasoning parser) and llama.cpp
b11549 (xllamacpp 2026.10); the others as their documents have them.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rsdecode.backends.openai_http import Address, HttpSettings, ServedModel, Transport
from rsdecode.backends.openai_http.asks import Ask, Conversation
from rsdecode.backends.openai_http.dialects import ANY, LLAMA_CPP, SGLANG, VLLM
from rsdecode.core.errors import ConfigError, RequestError
from rsdecode.core.protocols import MayNotContinue, Models
from rsdecode.core.requests import Failed, Generate, Generated
from rsdecode.core.segment import PARAGRAPH, WHOLE_ANSWER, Boundary
from rsdecode.core.types import Context, FinishReason, Message, Role, Segment
from tests.backends.openai_http.local_server import Answer, Events, LocalServer, Reply
from tests.backends.openai_http.scripted_server import NAME, vllm

THOUGHTS = "First I add.\n\nThen I am sure."
ANSWER = "It is 4.\n\nSo \\boxed{4}."


def served(server: LocalServer, **options: Any) -> ServedModel:
    settings = HttpSettings(attempts=2, backoff_s=0.001, rest_s=0.001)
    return ServedModel(Transport(Address((server.url,), NAME), settings), **options)


def ask(boundary: Boundary = PARAGRAPH, max_tokens: int = 50, *answer: str) -> Generate:
    context = Context((Message("user", "2 + 2?"),), tuple(map(Segment, answer)))
    return Generate(Role.DRAFT, context, max_tokens, boundary)


def thinking(owner: str, field: str = "reasoning") -> Answer:
    """A chat endpoint with a reasoning parser, whose stop strings fire within the thoughts."""

    async def answer(path: str, body: dict[str, Any]) -> Reply:
        if path == "/v1/models":
            return Reply(200, {"data": [{"id": NAME, "owned_by": owner}]})
        if path != "/v1/chat/completions":
            return Reply(404, {"error": {"message": "Not Found"}})
        thoughts, content, reason = THOUGHTS, ANSWER, "stop"
        stop = None
        if body.get("stop"):
            stop = body["stop"][0]
            thoughts, content = THOUGHTS.partition(stop)[0] + stop, None
        elif body["max_tokens"] < 9:
            thoughts, content, reason = "First I", None, "length"
        message = {"role": "assistant", "content": content, field: thoughts}
        choice = {"message": message, "finish_reason": reason, "stop_reason": stop}
        usage = {"prompt_tokens": 9, "completion_tokens": min(7, body["max_tokens"])}
        return Reply(200, {"choices": [choice], "usage": usage})

    return answer


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
@pytest.mark.parametrize("boundary", [PARAGRAPH, Boundary(tokens=5)])
async def test_steps_of_a_server_that_keeps_thoughts_apart_stop_with_the_remedy(
    field: str, boundary: Boundary
) -> None:
    async with LocalServer(thinking("vllm", field)) as server:
        [reply] = await served(server).generate([ask(boundary)])
        asked = [path for path, _ in server.requests if path.endswith("completions")]
    assert isinstance(reply, Failed)
    assert "separates thoughts from the text" in str(reply.error)
    assert "--draft-tokenizer" in str(reply.error)
    assert len(asked) == 2  # the trial, and the one step that was paid for


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
async def test_whole_answers_hold_their_thoughts(field: str) -> None:
    async with LocalServer(thinking("vllm", field)) as server:
        model = served(server)
        [reply, cut] = await model.generate([ask(WHOLE_ANSWER), ask(WHOLE_ANSWER, 8)])
    assert isinstance(reply, Generated)
    assert reply.segment.text == f"<think>\n{THOUGHTS}\n</think>\n\n{ANSWER}"
    assert reply.finish_reason is FinishReason.EOS
    assert isinstance(cut, Generated)
    assert cut.segment.text == "<think>\nFirst I"


async def test_tokens_without_text_are_paid_for_once() -> None:
    """A server that hides thoughts altogether (`include_reasoning: false`)."""

    async def hiding(path: str, body: dict[str, Any]) -> Reply:
        reply = await thinking("vllm")(path, body)
        if path.endswith("completions") and reply.status == 200:
            reply.body["choices"][0]["message"].pop("reasoning")
        return reply

    async with LocalServer(hiding) as server:
        model = served(server)
        for boundary in (PARAGRAPH, WHOLE_ANSWER):
            [reply] = await model.generate([ask(boundary, 8)])
            assert isinstance(reply, Failed)
            assert isinstance(reply.error, RequestError)
            assert "7 tokens, but no text came back" in str(reply.error)
    assert sum(path.endswith("completions") for path, _ in server.requests) == 3


async def test_sglang_is_asked_to_leave_thoughts_in_the_text() -> None:
    _, body = SGLANG.request("http://h/v1", "m", Ask(Conversation((Message("user", "?"),)), 9))
    assert body["separate_reasoning"] is False
    _, body = SGLANG.request("http://h/v1", "m", Ask("text", 9))
    assert "separate_reasoning" not in body


def tokenizing(calls: list[dict[str, Any]]) -> Answer:
    """vLLM, which tells the ids of a conversation and so can be asked past its reasoning parser."""

    async def answer(path: str, body: dict[str, Any]) -> Reply:
        if path == "/v1/models":
            return Reply(200, {"data": [{"id": NAME, "owned_by": "vllm", "max_model_len": 99}]})
        calls.append({"path": path, **body})
        if path == "/tokenize":
            text = body["prompt"] if "prompt" in body else body["messages"][-1]["content"]
            return Reply(200, {"tokens": [ord(c) for c in text], "count": len(text)})
        assert path == "/v1/completions", path
        choice = {"text": "<think>\nOne.\n\n", "finish_reason": "stop", "stop_reason": "\n\n"}
        usage = {"prompt_tokens": len(body["prompt"]), "completion_tokens": 5}
        return Reply(200, {"choices": [choice | {"token_ids": [1] * 5}], "usage": usage})

    return answer


async def test_vllm_renders_conversations_to_ids_which_are_continued() -> None:
    calls: list[dict[str, Any]] = []
    template = {"enable_thinking": True, "reasoning_effort": "low"}
    async with LocalServer(tokenizing(calls)) as server:
        model = served(server, template=template)
        [first] = await model.generate([ask()])
        assert isinstance(first, Generated)
        [second] = await model.generate([ask(PARAGRAPH, 50, first.segment.text)])
    assert isinstance(second, Generated)
    assert first.segment == Segment("<think>\nOne.\n\n")
    question = [ord(c) for c in "2 + 2?"]
    prompts = [call["prompt"] for call in calls if call["path"] == "/v1/completions"]
    assert prompts == [question, question + [ord(c) for c in first.segment.text]]
    rendered = [call for call in calls if "messages" in call]
    assert len(rendered) == 2  # to find out, and for the question: the second step remembers it
    assert rendered[1]["chat_template_kwargs"] == template
    [text] = [call for call in calls if call["path"] == "/tokenize" and "prompt" in call]
    assert text["add_special_tokens"] is False


@pytest.mark.parametrize("dialect", [VLLM, SGLANG, ANY])
def test_template_arguments_go_to_the_chat_route(dialect: Any) -> None:
    messages = (Message("user", "?"),)
    _, body = dialect.request("http://h/v1", "m", Ask(Conversation(messages, "", {"a": 1}), 9))
    assert body["chat_template_kwargs"] == {"a": 1}
    _, body = dialect.request("http://h/v1", "m", Ask(Conversation(messages), 9))
    assert "chat_template_kwargs" not in body


def generic(*, completions: bool) -> Answer:
    """A server of which nothing is known; one that rejects what OpenAI does not have."""

    async def answer(path: str, body: dict[str, Any]) -> Reply:
        if path == "/v1/models":
            return Reply(200, {"data": [{"id": NAME, "owned_by": "somebody"}]})
        usage = {"prompt_tokens": 5, "completion_tokens": 5}
        if path == "/v1/completions" and completions:
            choice = {"text": "Four.", "finish_reason": "stop"}
            return Reply(200, {"choices": [choice], "usage": usage})
        if path != "/v1/chat/completions":
            return Reply(404, {"error": {"message": "Not Found"}})
        if "continue_final_message" in body or body["messages"][-1]["role"] == "assistant":
            return Reply(400, {"error": {"message": "Unknown parameter"}})
        choice = {"message": {"content": "Four."}, "finish_reason": "stop"}
        return Reply(200, {"choices": [choice], "usage": usage})

    return answer


async def test_a_generic_chat_route_writes_whole_answers_and_refuses_steps() -> None:
    async with LocalServer(generic(completions=False)) as server:
        model = served(server)
        [whole, step] = await model.generate([ask(WHOLE_ANSWER), ask(PARAGRAPH)])
        assert isinstance(model, MayNotContinue)
        chats = sum(path.endswith("chat/completions") for path, _ in server.requests)
    assert isinstance(whole, Generated)
    assert whole.segment.text == "Four."
    assert isinstance(step, Failed)
    assert "best-of-N" in str(step.error)
    assert chats == 2


async def check(server: LocalServer) -> None:
    await asyncio.to_thread(served(server).check_steps)


async def test_steps_are_refused_before_the_first_problem() -> None:
    async with LocalServer(generic(completions=False)) as server:
        with pytest.raises(ConfigError, match="a chat route alone"):
            await check(server)
    async with LocalServer(generic(completions=True)) as server:
        await check(server)
    async with LocalServer(vllm("draft")) as server:
        await check(server)
    await check(server)  # which is down: the first request will say so


async def test_a_new_salt_for_each_run_where_the_server_has_salts() -> None:
    calls: list[dict[str, Any]] = []
    async with LocalServer(tokenizing(calls)) as server:
        model = served(server)
        await model.generate([ask()])
        for _ in range(2):
            model.clear()
            await model.generate([ask(), ask()])
        assert model.notes == ()
    salts = [call.get("cache_salt") for call in calls if call["path"] == "/v1/completions"]
    assert salts[0] is None
    assert salts[1] == salts[2]
    assert salts[3] == salts[4]
    assert len(set(salts)) == 3


async def test_a_server_that_cannot_forget_is_named() -> None:
    async with LocalServer(generic(completions=True)) as server:
        model = served(server)
        await model.generate([ask(WHOLE_ANSWER)])
        assert model.notes == ()
        model.clear()
        await model.generate([ask(WHOLE_ANSWER), ask(WHOLE_ANSWER)])
        [note] = Models(draft=model, target=model).notes()
    assert server.url in note
    assert "cannot be told to forget" in note


@pytest.mark.parametrize(("tokens", "prompt"), [([7], "<|im_start|>user"), ([7, 8, 9], "2 + 2?")])
async def test_chatml_is_used_only_by_models_that_have_its_tokens(
    tokens: list[int], prompt: str
) -> None:
    """A GGUF file without a template, of which /apply-template makes ChatML all the same."""
    prompts: list[str] = []

    async def llama(path: str, body: dict[str, Any]) -> Reply | Events:
        if path == "/v1/models":
            return Reply(200, {"data": [{"id": "file.gguf", "owned_by": "llamacpp"}]})
        if path == "/props":
            return Reply(200, {"default_generation_settings": {"n_ctx": 512}})
        if path == "/apply-template":
            content = body["messages"][-1]["content"]
            text = f"<|im_start|>user\n{content}<|im_end|>\n<|im_start|>assistant\n"
            return Reply(200, {"prompt": text})
        if path == "/tokenize":
            assert body == {"content": "<|im_start|>", "add_special": False, "parse_special": True}
            return Reply(200, {"tokens": tokens})
        prompts.append(body["prompt"])
        return Events([{
            "content": "Four.", "tokens": [4], "stop": True, "stop_type": "eos",
            "stopping_word": "", "tokens_evaluated": 12, "tokens_predicted": 2,
        }])  # fmt: skip

    async with LocalServer(llama) as server:
        model = served(server, plain_prompt="{question}", template={"enable_thinking": False})
        [reply] = await model.generate([ask(WHOLE_ANSWER)])
        assert isinstance(reply, Generated), reply
    [sent] = prompts
    assert sent.startswith(prompt)
    assert any("3 tokens of this model: the plain prompt" in note for note in model.notes) == (
        len(tokens) == 3
    )
    rendered = [body for path, body in server.requests if path == "/apply-template"]
    wanted = {"enable_thinking": False}
    assert all(body["chat_template_kwargs"] == wanted for body in rendered[1:])


async def test_a_text_that_llama_cpp_cut_within_a_character_ends_before_it() -> None:
    reply = {
        "content": "ab\ufffd", "tokens": [1, 2], "stop_type": "limit", "stopping_word": "",
        "tokens_evaluated": 3, "tokens_predicted": 2,
    }  # fmt: skip
    assert LLAMA_CPP.read(Ask("So", 2), reply).text == "ab"
    assert LLAMA_CPP.read(Ask("So", 2), reply | {"stop_type": "eos"}).text == "ab\ufffd"
