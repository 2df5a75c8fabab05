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
from rsdecode.core.requests import Assessed, Failed, Generated, Likelihood, Sampling
from rsdecode.core.types import FinishReason, Segment, Usage
from rsdecode.rewards.verifier import VerifierReward
from rsdecode.rewards.verifier_form import FORMS, LEAD, PROMPT
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
        "verifier:form=prm:hf:a/b": "unknown form of a verifier 'prm': use one of thinkprm, genprm",
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


GENPRM_CHAT = (
    "{% for m in messages %}{% if m.role == 'assistant' %}<|A|>{{ m.content }}<|end|>"
    "{% elif m.role == 'user' %}<|U|>{{ m.content }}{% else %}{{ m.content }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<|A|><think>\n{% endif %}"
)
"""The turns of the distilled Qwen models that GenPRM was trained from."""


@pytest.fixture(scope="module")
def genprm(tmp_path_factory):
    words = tiny.tokenizer()
    words.chat_template = GENPRM_CHAT
    folder = tmp_path_factory.mktemp("genprm") / "GenPRM-1.5B"
    folder, network = tiny.save_causal(folder, words)
    with torch.no_grad():
        network.lm_head.weight[94:] = 0.0  # it writes letters and signs, which are read as written
    network.save_pretrained(folder)
    return folder, network


def expected_of_genprm(score, network):
    """Greedy tokens one by one in a conversation of its own, by whole passes."""
    steps, turns, found = [step.strip() for step in steps_of(score)], "", []
    for number, step in enumerate(steps, 1):
        asked = f"{score.context.question.strip()}\n{step}" if number == 1 else step
        turns += f"<|U|>{asked}"
        lead = f"<analyze>\nLet's analyze the Paragraph {number} step by step: "
        system = (
            "You are a math teacher. Your task is to review and critique the paragraphs in "
            "solution step by step."
        )
        ids = [*encode(system + turns), *encode(lead)]
        start = len(ids)
        for _ in range(TOKENS):
            with torch.no_grad():
                ids.append(int(network(torch.tensor([ids])).logits[0, -1].argmax()))
        written = tiny.tokenizer().decode(ids[start:])
        verdict = "</analyze>\n<output>\n**Judgement**: $\\boxed{"
        ids += encode(verdict)
        totals = []
        for answer in ("Yes", "No"):
            whole = [*ids, *encode(answer)]
            with torch.no_grad():
                logprobs = network(torch.tensor([whole])).logits[0].log_softmax(-1)
            places = range(len(ids) - 1, len(whole) - 1)
            totals.append(math.fsum(logprobs[p, whole[p + 1]].item() for p in places))
        found.append(1 / (1 + math.exp(totals[1] - totals[0])))
        said = "Yes" if found[-1] >= 0.5 else "No"
        turns += f"<|A|>{lead}{written}{verdict}{said}}}$\n</output>\n<|end|>"
    return found[-len(score.steps) :]


async def test_genprm_equals_plain_transformers_and_remembers_what_it_said(genprm):
    folder, network = genprm
    settings = {
        "reward": {"spec": f"hf:{folder}"},
        "engine": {"device": "cpu", "slots": 2, "dtype": "float32"},
    }
    config = RunConfig.model_validate(settings)
    assert config.reward.spec == f"verifier:hf:{folder}", "known by its name"
    spec = f"verifier:temperature=0:tokens={TOKENS}:hf:{folder}"
    builder = ModelBuilder(RunConfig.model_validate(settings | {"reward": {"spec": spec}}))
    try:
        reward = builder.reward()
        first, second = PROBLEMS[0], PROBLEMS[1]
        [reply] = await reward.score([first])
        assert reply.rewards == pytest.approx(expected_of_genprm(first, network), abs=1e-4)
        assert reply.usage.decoded_tokens == 2 * TOKENS, "the step before is judged as well"
        [again] = await reward.score([second])
        assert again.rewards == pytest.approx(expected_of_genprm(second, network), abs=1e-4)
        assert again.usage.decoded_tokens == 2 * TOKENS, "what was said of both steps is known"
        told = reward.describe()
        assert told["kind"] == "verifier (GenPRM's conversation, no program run)"
        assert told["reads"].startswith("'Yes' against 'No' after '</analyze>")
    finally:
        builder.close()


async def test_genprm_is_drawn_as_published():
    class Analyst(Fixed):
        async def generate(self, requests):
            self.asked += requests
            segment = Segment(" Fine.\n</analyze>\n")
            return [Generated(segment, FinishReason.STOP, Usage()) for _ in requests]

    model = Analyst()
    reward = VerifierReward(model, FORMS["genprm"])
    await reward.score([tiny.request("How many?", ["One."], ["Two."])])
    [first, second] = model.asked
    assert first.sampling == Sampling(0.6, 0.95, 20)
    roles = [message.role for message in second.context.messages]
    assert roles == ["system", "user", "assistant", "user"]
    assert second.context.messages[2].content == (
        "<analyze>\nLet's analyze the Paragraph 1 step by step:  Fine.\n</analyze>\n"
        "<output>\n**Judgement**: $\\boxed{Yes}$\n</output>\n"
    )
    assert model.read[0].context.answer[-1].text == "<output>\n**Judgement**: $\\boxed{"


@pytest.mark.parametrize(
    ("spec", "form"),
    [
        ("hf:GenPRM/GenPRM-7B", "genprm"),
        ("hf:launch/ThinkPRM-1.5B", "thinkprm"),
        ("gguf:/models/GenPRM-7B.Q8_0.gguf", "genprm"),
        ("verifier:form=genprm:hf:mine/verifier", "genprm"),
        ("verifier:form=thinkprm:hf:GenPRM/GenPRM-7B", "thinkprm"),
        ("verifier:hf:mine/verifier", "thinkprm"),
    ],
)
def test_published_verifiers_are_known_by_name(spec, form):
    read = parse_reward_spec(spec)
    assert read.verifier.asked == form
    assert parse_reward_spec(str(read)) == read
