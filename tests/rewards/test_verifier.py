"""Generative verifiers, against plain transformers and a model with fixed replies."""

from __future__ import annotations

import math

import pytest
import torch

from rsdecode.backends.scripted import ScriptedModel
from rsdecode.backends.transformers.model import load_model
from rsdecode.config import RunConfig
from rsdecode.config.build import ModelBuilder
from rsdecode.config.specs import parse_reward_spec
from rsdecode.core.errors import ConfigError
from rsdecode.core.requests import Assessed, Failed, Generated, Likelihood
from rsdecode.core.types import FinishReason, Segment, Usage
from rsdecode.rewards.verifier import LEAD, PROMPT, VerifierReward
from tests.rewards import tiny
from tests.rewards.tiny import PROBLEMS, rewards, steps_of

TOKENS = 6


@pytest.fixture(scope="module")
def verifier(tmp_path_factory):
    folder, network = tiny.save_causal(tmp_path_factory.mktemp("verifier"))
    model = load_model(str(folder), tiny.OPTIONS)
    yield folder, network, model
    model.close()


def encode(text):
    return tiny.tokenizer().encode(text, add_special_tokens=False)


def expected(score, network):
    """Greedy tokens one by one, the question, and the two answers; each by a whole pass."""
    found, steps = [], [step.strip() for step in steps_of(score)]
    for end in range(len(score.context.answer) + 1, len(steps) + 1):
        solution = "\n\n".join(f"Step {i}: {step}" for i, step in enumerate(steps[:end], 1))
        prompt = PROMPT.format(problem=score.context.question.strip(), solution=solution)
        ids = encode(f"<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n")
        ids += encode(LEAD)
        for _ in range(TOKENS):
            with torch.no_grad():
                ids.append(int(network(torch.tensor([ids])).logits[0, -1].argmax()))
        ids += encode("\nIs the solution correct?")
        totals = []
        for answer in (" Yes", " No"):
            whole = [*ids, *encode(answer)]
            with torch.no_grad():
                logprobs = network(torch.tensor([whole])).logits[0].log_softmax(-1)
            places = range(len(ids) - 1, len(whole) - 1)
            totals.append(math.fsum(logprobs[p, whole[p + 1]].item() for p in places))
        found.append(1 / (1 + math.exp(totals[1] - totals[0])))
    return found


async def test_equals_plain_transformers(verifier):
    _, network, model = verifier
    reward = VerifierReward(model, tokens=TOKENS)
    asked = [PROBLEMS[0], PROBLEMS[4]]
    replies = await reward.score(asked)
    for reply, problem in zip(rewards(replies), asked, strict=True):
        assert reply == pytest.approx(expected(problem, network), abs=1e-4)
    assert replies[1].usage.decoded_tokens == 2 * TOKENS, "what it writes is paid for"
    assert replies[1].usage.verified_tokens == 2 * len(encode(" Yes") + encode(" No"))


class Fixed:
    """Writes a verification; is the surer of " Yes" the fewer steps there are."""

    def __init__(self, finish=FinishReason.STOP):
        self.finish, self.asked, self.read = finish, [], []

    async def generate(self, requests):
        self.asked += requests
        text = " Fine.\nIs the solution correct?" if self.finish is FinishReason.STOP else " Hm"
        return [Generated(Segment(text), self.finish, Usage(decoded_tokens=5)) for _ in requests]

    async def assess(self, requests):
        self.read += requests
        replies = []
        for request in requests:
            sample = int(request.session.rpartition("/")[2])
            chance = 0.9 if sample else 0.5
            chance = chance if request.steps[0].text == " Yes" else 1 - chance
            replies.append(Assessed((Likelihood((math.log(chance),), (True,)),), Usage(calls=1)))
        return replies


async def test_several_verifications_are_averaged():
    model = Fixed()
    reward = VerifierReward(model, samples=2)
    [reply] = await reward.score([tiny.request("How many?", ["One."], ["Two."])])
    assert reply.rewards == pytest.approx([0.7])
    assert reply.usage == Usage(decoded_tokens=10, calls=4)
    assert len({request.seed for request in model.asked}) == 2
    assert {request.sampling.temperature for request in model.asked} == {0.6}
    assert "Step 1: One.\n\nStep 2: Two." in model.asked[0].context.messages[0].content
    assert model.read[0].context.answer[-1].text == " Fine.\nIs the solution correct?"


async def test_one_that_does_not_come_to_its_end_is_asked():
    model = Fixed(FinishReason.STEP_LIMIT)
    await VerifierReward(model).score([tiny.request("How many?", [], ["One."])])
    assert [part.text for part in model.read[0].context.answer][1:] == [
        " Hm",
        "\nIs the solution correct?",
    ]


async def test_a_context_beyond_the_window_fails_alone(verifier):
    long = tiny.request("How many?", [], ["y" * tiny.CONTEXT])
    [first, second] = await VerifierReward(verifier[2], tokens=2).score([long, PROBLEMS[2]])
    assert isinstance(first, Failed)
    assert rewards([second])


def test_what_cannot_be_is_refused(verifier):
    with pytest.raises(ConfigError, match="does not tell how likely"):
        VerifierReward(ScriptedModel([]))
    with pytest.raises(ConfigError, match="all the same"):
        VerifierReward(verifier[2], samples=3, temperature=0.0)


def test_specs():
    spec = parse_reward_spec("verifier:tokens=512:samples=4:hf:a/b")
    assert str(spec) == "verifier:samples=4:tokens=512:hf:a/b"
    assert spec.verifier.samples == 4
    assert spec.verifier.temperature is None
    assert str(parse_reward_spec("verifier:gguf:x.gguf")) == "verifier:gguf:x.gguf"
    for wrong, said in {
        "verifier:samples=0:hf:a/b": "samples '0' must be a number of at least 1",
        "verifier:temperature=x:hf:a/b": "temperature 'x' must be",
        "verifier:vllm:a/b": "give its URL",
        "verifier:nonsense": "unknown model spec 'nonsense'",
    }.items():
        with pytest.raises(ConfigError, match=said):
            parse_reward_spec(wrong)


async def test_a_configuration_names_it(verifier):
    folder, network, _ = verifier
    settings = {
        "reward": {"spec": f"verifier:tokens={TOKENS}:hf:{folder}"},
        "engine": {"device": "cpu", "slots": 2},
    }
    builder = ModelBuilder(RunConfig.model_validate(settings))
    try:
        reward = builder.reward()
        [reply] = await reward.score(PROBLEMS[:1])
        assert reply.rewards == pytest.approx(expected(PROBLEMS[0], network), abs=1e-3)
        assert "at most 6 tokens" in reward.describe()["cost"]
    finally:
        builder.close()
