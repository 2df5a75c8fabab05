"""Gates on llama.cpp: what it tells of its own tokens and of given ones, against transformers."""

from __future__ import annotations

import math

import pytest

from rsdecode.backends.llama_cpp import LlamaCppOptions, load_llama_cpp
from rsdecode.core.errors import ContextFull, RequestError
from rsdecode.core.limits import Limits
from rsdecode.core.protocols import Models
from rsdecode.core.requests import Assess, Assessed, Failed, Generate, Generated, Sampling
from rsdecode.core.segment import WHOLE_ANSWER, Boundary
from rsdecode.core.types import Context, FinishReason, Message, Problem, Role, Segment, Tokens
from rsdecode.core.weighting import BinaryStep
from rsdecode.methods import RSD
from rsdecode.methods.gsi import GSI
from rsdecode.rewards.gates import (
    AgreementReward,
    CascadeReward,
    ConfidenceReward,
    LikelihoodReward,
    Pooling,
)
from rsdecode.session.drive import advance
from tests.backends.llama_cpp import tiny_gguf

pytest.importorskip("gguf")
pytest.importorskip("xllamacpp")
torch = pytest.importorskip("torch")
OPTIONS = LlamaCppOptions(slots=2, max_context=256, threads=1)
LINE = Boundary(stops=("\n",))
CHUNK = Boundary(tokens=8)
SMILE = "\U0001f642"
TOLERANCE = 0.03
"""llama.cpp keeps keys and values in float16."""


@pytest.fixture(scope="module")
def model(file):
    made = load_llama_cpp(file, OPTIONS)
    made.tell_logprobs()
    yield made
    made.close()


@pytest.fixture(scope="module")
def network(file):
    return tiny_gguf.network(file)


def asked(question, *steps):
    return Context((Message("user", question),), steps)


async def prompt_ids(model, context):
    connection = model._inner._connection
    return await connection.rendered(
        "", lambda tokens: connection.words.context_ids(tokens, context)
    )


def plain(network, before, after, temperature=1.0, top_k=0):
    """Log-probability of each token of `after`, and whether it is the first choice: one pass."""
    with torch.inference_mode():
        logits = network(torch.tensor([[*before, *after]])).logits[0]
    logits = logits[len(before) - 1 : -1] / temperature
    if top_k:
        least = logits.topk(top_k).values[:, -1:]
        logits = logits.masked_fill(logits < least, -math.inf)
    logprobs = logits.log_softmax(-1)[range(len(after)), list(after)]
    firsts = logits.argmax(-1) == torch.tensor(after)
    return logprobs.tolist(), firsts.tolist()


async def written(model, context, sampling, *, boundary=LINE, seed=1, tokens=40):
    request = Generate(Role.DRAFT, context, tokens, boundary, sampling, seed, f"w{seed}")
    [reply] = await model.generate([request])
    assert isinstance(reply, Generated), reply
    model.end(f"w{seed}")
    return reply


@pytest.mark.parametrize(
    "sampling",
    [Sampling(), Sampling(1.0), Sampling(0.6), Sampling(1.5, top_k=5)],
    ids=["greedy", "plain", "warm", "top-k"],
)
async def test_written_tokens_have_the_law_that_they_were_drawn_by(model, network, sampling):
    context = asked("How many?")
    before = await prompt_ids(model, context)
    for seed in range(4):
        reply = await written(model, context, sampling, seed=seed)
        ids = reply.segment.tokens.ids
        if reply.finish_reason is FinishReason.EOS:
            ids = (*ids, tiny_gguf.vocabulary()[0].index("<|im_end|>"))
        expected, _ = plain(network, before, ids, sampling.temperature or 1.0, sampling.top_k)
        assert reply.segment.logprobs == pytest.approx(expected, abs=TOLERANCE)


async def test_chunks_and_streams_tell_the_same(model):
    context = asked("How many?")
    whole = await written(model, context, Sampling(), boundary=WHOLE_ANSWER, tokens=12)
    chunk = await written(model, context, Sampling(), boundary=Boundary(tokens=12), seed=2)
    count = len(chunk.segment.logprobs)
    assert chunk.segment.logprobs == pytest.approx(whole.segment.logprobs[:count], abs=TOLERANCE)


@pytest.mark.parametrize("ends", [False, True])
async def test_a_text_is_as_likely_as_for_transformers(model, network, ends):
    """Steps of its own tokens and of text, likely and not, with characters of several tokens."""
    first = (await written(model, asked("Go on."), Sampling())).segment
    steps = (first, Segment(f"the {SMILE} 12\n"), Segment("zq"))
    request = Assess(asked("Go on."), steps, ends=ends, session="text")
    [reply] = await model.assess([request])
    assert isinstance(reply, Assessed), reply
    before = await prompt_ids(model, asked("Go on."))
    ids = [await prompt_ids(model, asked("Go on.", *steps[: i + 1])) for i in range(3)]
    after = ids[-1][len(before) :]
    if ends:
        after = (*after, tiny_gguf.vocabulary()[0].index("<|im_end|>"))
    expected, firsts = plain(network, before, after)
    told = [p for likelihood in reply.steps for p in likelihood.logprobs]
    assert told == pytest.approx(expected, abs=TOLERANCE)
    assert [f for likelihood in reply.steps for f in likelihood.firsts] == firsts
    assert set(firsts) == {True, False}
    assert [len(s.logprobs) for s in reply.steps][:2] == [
        len(ids[0]) - len(before),
        len(ids[1]) - len(ids[0]),
    ]
    usage = reply.usage
    assert usage.verified_tokens == len(after)
    assert usage.decoded_tokens == 0
    assert usage.prefill_tokens + usage.cached_tokens == len(before) + len(after) - 1
    [again] = await model.assess([request])
    assert again.usage.prefill_tokens < len(after) + 3, "the slot keeps what it has read"


async def test_what_the_target_reads_it_need_not_read_to_write(model):
    context, step = asked("Count."), Segment("the 12 and 7.\n")
    [read] = await model.assess([Assess(context, (step,), session="s")])
    request = Generate(Role.TARGET, context.followed_by(step), 5, session="s")
    [reply] = await model.generate([request])
    assert reply.usage.prefill_tokens <= 2
    assert reply.usage.cached_tokens >= read.usage.prefill_tokens + read.usage.cached_tokens - 1


async def test_characters_of_several_tokens_are_told_as_well(tmp_path):
    """llama.cpp tells nothing of a token that ends within a character; it is measured then."""
    spelled = [*"\u00e9\u4e2d\U0001f642".encode(), 97]
    path = tiny_gguf.write(tmp_path / "bytes.gguf", spelled=spelled, ends=0.0)
    network, model = tiny_gguf.network(path), load_llama_cpp(path, OPTIONS)
    model.tell_logprobs()
    try:
        before = await prompt_ids(model, asked("x"))
        measured = 0
        for boundary in (WHOLE_ANSWER, Boundary(tokens=6)):
            reply = await written(model, asked("x"), Sampling(1.0), boundary=boundary, tokens=6)
            expected, _ = plain(network, before, reply.segment.tokens.ids)
            assert reply.segment.logprobs == pytest.approx(expected, abs=TOLERANCE)
            measured += reply.usage.verified_tokens
        assert measured
        shaped = [
            Generate(Role.DRAFT, asked("x"), 6, Boundary(tokens=6), Sampling(2.0), seed)
            for seed in range(6)
        ]
        refused = [r for r in await model.generate(shaped) if isinstance(r, Failed)]
        assert refused
        assert all("temperature than 0 or 1" in str(reply.error) for reply in refused)
    finally:
        model.close()


async def test_other_laws_and_full_contexts_are_refused(model):
    context = asked("Go.")
    shaped = Assess(context, (Segment("x"),), Sampling(0.5))
    long = Assess(context, (Segment("y" * 400),))
    [shaped_reply, long_reply, fine] = await model.assess(
        [shaped, long, Assess(context, (Segment("x"),))]
    )
    assert isinstance(shaped_reply.error, RequestError)
    assert "temperature 1 alone" in str(shaped_reply.error)
    assert isinstance(long_reply.error, ContextFull)
    assert isinstance(fine, Assessed)


async def test_tokens_of_another_vocabulary_are_read_as_text(model):
    foreign = Segment("the 12", Tokens("other", (1, 2)))
    [a, b] = await model.assess(
        [Assess(asked("?"), (step,)) for step in (foreign, Segment("the 12"))]
    )
    assert a.steps[0].logprobs == pytest.approx(b.steps[0].logprobs, abs=TOLERANCE)


async def test_gates_reward_the_drafts_steps(model, tmp_path):
    """Each gate's rewards are its rule over what plain transformers says of the same steps."""
    path = tiny_gguf.write(tmp_path / "target.gguf", seed=7)
    target, network = load_llama_cpp(path, OPTIONS), tiny_gguf.network(path)
    problem = Problem.ask("How much is it?", id="q")
    rules = {
        LikelihoodReward(target): lambda p, _: math.exp(math.fsum(p) / len(p)),
        LikelihoodReward(target, Pooling("min")): lambda p, _: math.exp(min(p)),
        AgreementReward(target): lambda p, firsts: [*firsts, False].index(False) / len(p),
    }
    try:
        for reward, rule in rules.items():
            method = RSD(weighting=BinaryStep(0.0), boundary=CHUNK, limits=Limits(9, 40, 60))
            found = await advance(method(problem), Models(model, target, reward))
            assert found.error is None
            context, compared = Context(problem.messages), 0
            for step in found.steps:
                ids = step.segment.tokens.ids
                if step.accepted and ids:
                    expected = rule(*plain(network, await prompt_ids(target, context), ids))
                    assert step.reward == pytest.approx(expected, abs=TOLERANCE)
                    compared += 1
                context = context.followed_by(step.segment)
            assert compared
    finally:
        target.close()


async def test_cascades_and_guided_inference_run_on_them(model):
    problem = Problem.ask("How much is it?", id="q")
    confidence, least = ConfidenceReward(model), LikelihoodReward(model, Pooling("min"))
    models = Models(model, model, CascadeReward(confidence, least, 0.2, 0.9))
    method = RSD(weighting=BinaryStep(0.5), boundary=CHUNK, limits=Limits(5, 40, 90))
    found = await advance(method(problem), models)
    assert found.error is None
    assert any(step.reward is not None for step in found.steps)
    plainly = Sampling(1.0)
    method = GSI(2, 20.0, 0.5, CHUNK, Limits(3, 40, 90), plainly, plainly)
    found = await advance(method(problem), models)
    assert found.error is None
    assert found.ledger.target.verified_tokens > 0
