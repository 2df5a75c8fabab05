"""What each kind of server is sent, and what is made of its replies."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rsdecode.backends.openai_http import Address, HttpSettings, ServedModel, Transport
from rsdecode.backends.openai_http.asks import Ask, Conversation
from rsdecode.backends.openai_http.dialects import (
    ANY,
    LLAMA_CPP,
    SGLANG,
    VLLM,
    WRAPPED_LLAMA_CPP,
    OpenAI,
)
from rsdecode.backends.openai_http.faults import Fault
from rsdecode.core.errors import PromptTooLong
from rsdecode.core.protocols import Choose, Chosen
from rsdecode.core.requests import Failed, Generate, Generated, Sampling
from rsdecode.core.segment import PARAGRAPH, Boundary
from rsdecode.core.types import Context, FinishReason, Message, Role, Segment, Usage
from tests.backends.openai_http.local_server import Events, LocalServer, Reply
from tests.backends.openai_http.scripted_server import NAME, vllm

STOPPING = Ask((1, 2), 9, ("\n\n",), Sampling(0.5, 0.9, 7), seed=2**63 + 5)
CHAT = Conversation((Message("user", "Why?"),), "So.\n\n")
USAGE = {
    "prompt_tokens": 12, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 8}
}  # fmt: skip


def choice(**of: Any) -> dict[str, Any]:
    return {"choices": [{"text": "a\n\n", "finish_reason": "stop"} | of], "usage": USAGE}


def test_vllm_is_told_all_sampling_parameters_and_asked_for_ids_and_the_stop_string() -> None:
    url, body = VLLM.request("http://h/v1", "m", STOPPING)
    assert url == "http://h/v1/completions"
    assert body == {
        "model": "m", "prompt": [1, 2], "max_tokens": 9, "stop": ["\n\n"], "seed": 5,
        "temperature": 0.5, "top_p": 0.9, "top_k": 7, "min_p": 0.0, "repetition_penalty": 1.0,
        "presence_penalty": 0.0, "frequency_penalty": 0.0, "include_stop_str_in_output": True,
        "return_token_ids": True,
    }  # fmt: skip


def test_a_reply_is_continued_in_the_chat_endpoint() -> None:
    url, body = SGLANG.request("http://h/v1", "m", Ask(CHAT, 9))
    assert url == "http://h/v1/chat/completions"
    assert body["messages"] == [
        {"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So.\n\n"}
    ]  # fmt: skip
    assert body["continue_final_message"]
    assert not body["add_generation_prompt"]
    assert body["no_stop_trim"]


def test_an_unknown_server_is_sent_nothing_that_openai_does_not_know() -> None:
    _, body = ANY.request("http://h/v1", "m", Ask("So", 9, ("\n\n",)))
    known = {"model", "prompt", "max_tokens", "stop", "seed", "temperature", "top_p"}
    assert set(body) == known


@pytest.mark.parametrize(("dialect", "sent"), [(VLLM, [7]), (SGLANG, [7]), (ANY, None)])
def test_a_further_end_of_answers_is_sent_where_it_is_taken(dialect: Any, sent: Any) -> None:
    _, body = dialect.request("http://h/v1", "m", replace(STOPPING, end_id=7))
    assert body.get("stop_token_ids") == sent


@pytest.mark.parametrize(
    ("dialect", "reply", "ended", "text"),
    [
        (VLLM, choice(stop_reason="\n\n"), "stop", "a\n\n"),
        (VLLM, choice(stop_reason=None), "eos", "a\n\n"),
        (VLLM, choice(stop_reason=151645), "eos", "a\n\n"),
        (VLLM, choice(finish_reason="length"), "limit", "a\n\n"),
        (SGLANG, choice(matched_stop="\n\n"), "stop", "a\n\n"),
        (SGLANG, choice(matched_stop=7), "eos", "a\n\n"),
        (ANY, choice(text="a"), "unknown", "a"),
    ],
)
def test_why_it_ended(dialect: Any, reply: Any, ended: str, text: str) -> None:
    answered = dialect.read(STOPPING, reply)
    assert (answered.ended, answered.text) == (ended, text)
    assert answered.usage(1.5) == Usage(
        prefill_tokens=4, cached_tokens=8, decoded_tokens=5, calls=1, seconds=1.5,
        attended_tokens=sum(range(9, 17)),
    )  # fmt: skip


def test_llama_cpp_says_why_and_in_which_tokens() -> None:
    url, body = LLAMA_CPP.request("http://h/v1", "m", STOPPING)
    assert url == "http://h/completion"
    assert (body["n_predict"], body["return_tokens"], body["min_p"]) == (9, True, 0.0)
    reply = {
        "content": "a", "tokens": [4, 5], "stop_type": "word", "stopping_word": "\n\n",
        "tokens_evaluated": 12, "tokens_predicted": 2, "timings": {"prompt_n": 4},
    }  # fmt: skip
    answered = LLAMA_CPP.read(STOPPING, reply)
    assert (answered.text, answered.ids, answered.ended) == ("a\n\n", (4, 5), "stop")
    assert (answered.prompt_tokens, answered.cached_tokens) == (12, 8)


@pytest.mark.parametrize(
    "reply",
    [
        None, [], {}, {"choices": []}, {"choices": [{}], "usage": USAGE},
        choice(text=7), choice(finish_reason=None), choice(finish_reason="abort"),
        {"choices": [{"text": "a", "finish_reason": "stop"}]},
        {"choices": [{"text": "a", "finish_reason": "stop"}], "usage": {"prompt_tokens": "many"}},
    ],
)  # fmt: skip
def test_replies_of_another_form_are_faults(reply: Any) -> None:
    for dialect in (VLLM, SGLANG, ANY, LLAMA_CPP):
        with pytest.raises(Fault):
            dialect.read(STOPPING, reply)


def served(server: LocalServer) -> ServedModel:
    return ServedModel(Transport(Address((server.url,), NAME), HttpSettings(attempts=1)))


def ask(boundary: Boundary, max_tokens: int = 50, *answer: str) -> Generate:
    context = Context((Message("user", "Why?"),), tuple(map(Segment, answer)))
    return Generate(Role.DRAFT, context, max_tokens, boundary)


async def written(text: str, request: Generate) -> Generated | Failed:
    """The reply of a vLLM server whose model says `text`, one "word\\n\\n" at a time."""

    def rest(question: str, role: str, steps: int) -> str:
        return "\n\n".join(text.split("\n\n")[steps:])

    async with LocalServer(vllm("draft", rest)) as server:
        [reply] = await served(server).generate([request])
    return reply


async def test_separators_at_the_start_of_a_step_do_not_end_it() -> None:
    reply = await written("\n\n\n\nOne two.\n\nThree.", ask(PARAGRAPH))
    assert isinstance(reply, Generated)
    assert reply.segment == Segment("\n\n\n\nOne two.\n\n")
    assert reply.finish_reason is FinishReason.STOP
    assert reply.usage.calls == 3


async def test_the_limits_of_a_request() -> None:
    cut = await written("one two three four", ask(PARAGRAPH, 3))
    assert isinstance(cut, Generated)
    assert cut.finish_reason is FinishReason.STEP_LIMIT
    chunk = await written("one two three four", ask(Boundary(tokens=2)))
    assert isinstance(chunk, Generated)
    assert chunk.finish_reason is FinishReason.STOP
    done = await written("one two.", ask(PARAGRAPH))
    assert isinstance(done, Generated)
    assert done.finish_reason is FinishReason.EOS


@pytest.mark.parametrize("answer", [(), ("So.\n\n",)])
async def test_a_full_context_is_an_error_for_the_question_and_an_end_for_the_answer(
    answer: tuple[str, ...],
) -> None:
    async def full(path: str, body: dict[str, Any]) -> Reply:
        if path == "/v1/models" or body.get("max_tokens") == 1:
            return await vllm("draft")(path, body)
        message = "This model's maximum context length is 64 tokens. However, you requested 99."
        return Reply(400, {"error": {"message": message}})

    async with LocalServer(full) as server:
        [reply] = await served(server).generate([ask(PARAGRAPH, 50, *answer)])
    if answer:
        assert isinstance(reply, Generated)
        assert reply.finish_reason is FinishReason.LENGTH
        assert reply.segment == Segment("")
    else:
        assert isinstance(reply, Failed)
        assert isinstance(reply.error, PromptTooLong)
        assert "maximum context length is 64" in str(reply.error)


async def test_choices_are_weighed_among_themselves() -> None:
    question = Choose((Message("user", "Good?"),), ("0", "9"))
    async with LocalServer(vllm("draft")) as server:
        model = served(server)
        [chosen, other] = await model.choose([question, Choose(question.messages, ("yes", "no"))])
    assert isinstance(chosen, Chosen)
    assert sum(chosen.probabilities) == pytest.approx(1.0)
    assert chosen.usage.calls == 1
    assert isinstance(other, Failed)
    assert "none of yes, no among the 3 likeliest" in str(other.error)


async def test_llama_cpp_renders_conversations_and_continues_them() -> None:
    async def llama(path: str, body: dict[str, Any]) -> Reply | Events:
        if path == "/v1/models":
            return Reply(200, {"data": [{"id": "file.gguf", "owned_by": "llamacpp"}]})
        if path == "/props":
            return Reply(200, {"default_generation_settings": {"n_ctx": 512}})
        if path == "/apply-template":
            return Reply(200, {"prompt": f"<user>{body['messages'][-1]['content']}<assistant>"})
        assert path == "/completion"
        assert body["prompt"] == "<user>Why?<assistant>So.\n\n"
        assert body["stream"], "of unstreamed replies it notices late that nobody waits"
        return Events([
            {"content": "It", "tokens": [4], "stop": False, "tokens_predicted": 1},
            {"content": " is.", "tokens": [5], "stop": False, "tokens_predicted": 2},
            {"content": "", "tokens": [], "stop": True, "stop_type": "eos", "stopping_word": "",
             "tokens_evaluated": 12, "tokens_predicted": 3, "timings": {"prompt_n": 4}},
        ])  # fmt: skip

    async with LocalServer(llama) as server:
        model = served(server)
        for _ in range(2):
            [reply] = await model.generate([ask(PARAGRAPH, 50, "So.\n\n")])
            assert isinstance(reply, Generated)
            assert (reply.segment.text, reply.finish_reason) == ("It is.", FinishReason.EOS)
    paths = [path for path, _ in server.requests]
    assert paths.count("/apply-template") == 2  # to find out, and for the question
    assert paths.count("/completion") == 2


def test_no_more_stop_strings_than_servers_take() -> None:
    """vLLM 0.32 refuses more than four; what it does not stop at is cut off here."""
    stops = ("</think>", "\n\n", "Wait ", "Wait,", "So ")
    _, body = VLLM.request("u/v1", "m", Ask("a", 9, stops))
    assert body["stop"] == list(stops[:4])


@pytest.mark.parametrize(
    ("dialect", "key"),
    [(VLLM, "thinking_token_budget"), (WRAPPED_LLAMA_CPP, "reasoning_budget_tokens"), (ANY, None)],
)
def test_a_budget_of_thoughts(dialect: OpenAI, key: str | None) -> None:
    plain = dialect.request("u/v1", "m", Ask("a", 9))[1]
    told = dialect.request("u/v1", "m", Ask("a", 9, thinking_tokens=7))[1]
    assert told == plain | ({} if key is None else {key: 7})
