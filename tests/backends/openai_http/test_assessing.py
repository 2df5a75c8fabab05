"""How likely a served model finds a text: what it finds in this process."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from rsdecode.backends.openai_http import Address, HttpSettings, ServedModel, Transport
from rsdecode.backends.transformers.model import LocalModel, load_model
from rsdecode.core.errors import ConfigError, RequestError
from rsdecode.core.protocols import Models
from rsdecode.core.requests import Assess, Assessed, Failed, Generate, Generated, Sampling
from rsdecode.core.segment import PARAGRAPH
from rsdecode.core.types import Context, FinishReason, Message, Problem, Role, Segment
from rsdecode.core.weighting import BinaryStep
from rsdecode.methods import RSD
from rsdecode.models.abacus import model_path, problems
from rsdecode.rewards.gates import ConfidenceReward, LikelihoodReward
from rsdecode.session.drive import advance
from tests.backends.openai_http.local_server import LocalServer
from tests.backends.openai_http.model_server import NAME, Completions

QUESTION = problems("validation", limit=1)[0].question


@pytest.fixture(scope="module")
def pair():
    models = load_model(str(model_path("draft"))), load_model(str(model_path("target")))
    yield models
    for model in models:
        model.close()


def served(server: LocalServer, model: LocalModel | None) -> ServedModel:
    transport = Transport(Address((server.url,), NAME), HttpSettings(attempts=1))
    return ServedModel(transport, tokenizer=None if model is None else model._tokenizer)


def assess(*steps: str, sampling: Sampling = Sampling(1.0), ends: bool = False) -> Assess:
    context = Context((Message("user", QUESTION),), (Segment("First. "),))
    return Assess(context, tuple(map(Segment, steps)), sampling, ends)


@pytest.mark.parametrize("ends", [False, True])
async def test_a_text_is_as_likely_as_in_process(pair, ends: bool) -> None:
    request = assess("Adding 3 gives 5 + 3 = 8 coins.\n\n", "The answer is 8.", ends=ends)
    [expected] = await pair[1].assess([request])
    async with LocalServer(Completions(pair[1])) as server:
        [found] = await served(server, pair[1]).assess([request])
    assert isinstance(expected, Assessed)
    assert isinstance(found, Assessed)
    for ours, theirs in zip(found.steps, expected.steps, strict=True):
        assert ours.logprobs == pytest.approx(theirs.logprobs, abs=1e-4)
        assert ours.firsts == theirs.firsts
    assert found.usage.verified_tokens == expected.usage.verified_tokens > 10
    assert found.usage.prefill_tokens + found.usage.cached_tokens > found.usage.verified_tokens


async def test_the_writer_tells_its_logprobs_over_several_requests(pair) -> None:
    """Also where a step takes several requests, and of the end of the answer."""
    pair[0].tell_logprobs()
    async with LocalServer(Completions(pair[0])) as server:
        model = served(server, pair[0])
        model.tell_logprobs()
        context = Context((Message("user", QUESTION),))
        for _ in range(12):
            request = Generate(Role.DRAFT, context, 200, PARAGRAPH)
            [[ours], [theirs]] = [await m.generate([request]) for m in (model, pair[0])]
            assert isinstance(ours, Generated)
            assert isinstance(theirs, Generated)
            assert ours.segment == theirs.segment
            assert ours.segment.logprobs == pytest.approx(theirs.segment.logprobs, abs=1e-4)
            context = context.followed_by(ours.segment)
            if ours.finish_reason is FinishReason.EOS:
                return
    raise AssertionError("the draft did not end its answer")


async def test_tokens_are_told_as_in_process_to_the_request_that_asks(pair) -> None:
    """Their texts are made of ids here, and so are those of a step's own boundary."""
    async with LocalServer(Completions(pair[1])) as server:
        model = served(server, pair[1])
        context = Context((Message("user", QUESTION),))
        asked = Generate(Role.TARGET, context, 200, PARAGRAPH, told=3)
        [ours], [theirs] = await model.generate([asked]), await pair[1].generate([asked])
        [plain] = await model.generate([Generate(Role.TARGET, context, 200, PARAGRAPH)])
    assert isinstance(ours, Generated)
    assert isinstance(theirs, Generated)
    assert isinstance(plain, Generated)
    assert plain.segment == ours.segment == theirs.segment
    assert plain.segment.told is None
    assert ours.segment.told is not None
    assert theirs.segment.told is not None
    assert "".join(token.text for token in ours.segment.told) == ours.segment.text
    for one, other in zip(ours.segment.told, theirs.segment.told, strict=True):
        assert one.text == other.text
        assert one.logprob == pytest.approx(other.logprob, abs=1e-4)
        assert [p for _, p in one.top] == pytest.approx([p for _, p in other.top], abs=1e-4)


async def test_gates_decide_as_in_process(pair) -> None:
    draft, target = pair
    problem = Problem.ask(QUESTION, id="q")
    method = RSD(weighting=BinaryStep(0.97))
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(LocalServer(Completions(m))) for m in pair]
        far = [served(server, model) for server, model in zip(servers, pair, strict=True)]
        for make in (lambda d, t: LikelihoodReward(t), lambda d, t: ConfidenceReward(d)):
            here = await advance(method(problem), Models(draft, target, make(draft, target)))
            there = await advance(method(problem), Models(*far, make(*far)))
            assert here.error is there.error is None
            assert [s.text for s in there.steps] == [s.text for s in here.steps]
            rewards = [step.reward for step in here.steps]
            assert [s.reward for s in there.steps] == pytest.approx(rewards, abs=1e-4)
            assert len(set(rewards)) > 1


async def test_what_a_server_does_not_tell_is_refused(pair) -> None:
    async with LocalServer(Completions(pair[1], "plain")) as server:
        model = served(server, pair[1])
        [failed] = await model.assess([assess("One.")])
        assert isinstance(failed, Failed)
        assert "takes vLLM and the model's tokenizer" in str(failed.error)
        with pytest.raises(ConfigError, match="takes vLLM and the model's tokenizer"):
            await asyncio.to_thread(model.check_assesses)
        with pytest.raises(ConfigError, match=r"takes vLLM or llama\.cpp"):
            await asyncio.to_thread(model.check_logprobs)
        model.tell_logprobs()
        [failed] = await model.generate([Generate(Role.DRAFT, assess("").context, 5)])
        assert isinstance(failed, Failed)
        assert "log-probabilities" in str(failed.error)
    async with LocalServer(Completions(pair[1])) as server:
        without = served(server, None)
        with pytest.raises(ConfigError, match="--target-tokenizer"):
            await asyncio.to_thread(without.check_assesses)
        await asyncio.to_thread(without.check_logprobs)
        model = served(server, pair[1])
        await asyncio.to_thread(model.check_assesses)
        [failed] = await model.assess([assess("One.", sampling=Sampling(0.5))])
        assert isinstance(failed, Failed)
        assert isinstance(failed.error, RequestError)
        assert "temperature 1" in str(failed.error)


@pytest.mark.parametrize("told", [None, [], [None, {"5": {}}], "x"])
async def test_a_reply_of_another_form_is_a_fault(pair, told: object) -> None:
    app = Completions(pair[1])

    async def broken(path: str, body: dict[str, object]):
        reply = await app(path, body)
        if "prompt_logprobs" in body:
            reply.body["choices"][0]["prompt_logprobs"] = told  # type: ignore[union-attr]
        return reply

    async with LocalServer(broken) as server:
        [failed] = await served(server, pair[1]).assess([assess("One.")])
    assert isinstance(failed, Failed)
    assert "prompt" in str(failed.error)
