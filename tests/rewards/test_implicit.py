"""Implicit rewards, against plain forward passes of two language models."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from rsdecode.backends.scripted import ScriptedModel
from rsdecode.backends.transformers.model import load_model
from rsdecode.config import RunConfig
from rsdecode.config.build import ModelBuilder
from rsdecode.config.specs import parse_reward_spec
from rsdecode.core.errors import ConfigError
from rsdecode.core.requests import Failed
from rsdecode.rewards.implicit import ImplicitReward
from tests.rewards import tiny
from tests.rewards.tiny import PROBLEMS, rewards, steps_of


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    first, network = tiny.save_causal(tmp_path_factory.mktemp("model"))
    second = tmp_path_factory.mktemp("reference")
    torch.manual_seed(9)
    other = type(network)(tiny.config()).eval()
    other.save_pretrained(second)
    tiny.tokenizer().save_pretrained(second)
    return (first, network), (second, other)


@pytest.fixture(scope="module")
def models(folders):
    loaded = [load_model(str(folder), tiny.OPTIONS) for folder, _ in folders]
    yield loaded
    for model in loaded:
        model.close()


def encode(text):
    return tiny.tokenizer().encode(text, add_special_tokens=False)


def ratios(score, folders):
    """Of each step: log(P / P_ref), by whole sequences."""
    pieces = [
        encode(f"<|im_start|>user\n{score.context.question}<|im_end|>\n<|im_start|>assistant\n")
    ]
    pieces += [encode(step) for step in steps_of(score)]
    ids = torch.tensor([[token for piece in pieces for token in piece]])
    told = []
    for _, network in folders:
        with torch.no_grad():
            logprobs = network(ids).logits[0, :-1].log_softmax(-1)
        told.append(logprobs.gather(-1, ids[0, 1:, None])[:, 0])
    ends = torch.tensor([len(piece) for piece in pieces]).cumsum(0).tolist()
    difference = told[0] - told[1]
    return [difference[start - 1 : end - 1].sum().item() for start, end in pairwise(ends)]


def expected(score, folders, beta, *, whole):
    found, total = [], 0.0
    for ratio in ratios(score, folders):
        total = total + ratio if whole else ratio
        found.append(1 / (1 + math.exp(-beta * total)))
    return found[-len(score.steps) :]


@pytest.mark.parametrize("whole", [True, False])
async def test_equals_plain_forward_passes_batched_and_one_after_the_other(folders, models, whole):
    right = [expected(problem, folders, 0.05, whole=whole) for problem in PROBLEMS]
    batched = rewards(await ImplicitReward(*models, whole=whole).score(PROBLEMS))
    reward = ImplicitReward(*models, whole=whole)
    alone = [rewards(await reward.score([problem]))[0] for problem in PROBLEMS]
    for found in (batched, alone):
        for ours, theirs in zip(found, right, strict=True):
            assert ours == pytest.approx(theirs, abs=1e-4)
    flat = [value for row in right for value in row]
    assert max(flat) - min(flat) > 0.02, "the test could not tell rewards apart"


async def test_growing_answers_read_only_what_is_new(folders, models):
    reward = ImplicitReward(*models, beta=0.2)
    question, steps = "How many apples are there?", [f"There are {i}.\n\n" for i in range(5)]
    for end in range(len(steps)):
        asked = tiny.request(question, steps[:end], steps[end : end + 1], "grow")
        [reply] = await reward.score([asked])
        assert reply.rewards == pytest.approx(expected(asked, folders, 0.2, whole=True), abs=1e-4)
        if end:
            assert reply.usage.prefill_tokens <= 2 * len(encode(steps[end])) + 2
    wrong = tiny.request(question, steps[:2], ["Quite another step.\n\n"], "grow")
    [reply] = await reward.score([wrong])
    assert reply.rewards == pytest.approx(expected(wrong, folders, 0.2, whole=True), abs=1e-4)
    reward.clear()
    again = tiny.request(question, steps[:4], steps[4:], "grow")
    [reply] = await reward.score([again])
    assert reply.rewards == pytest.approx(expected(again, folders, 0.2, whole=True), abs=1e-4)


async def test_a_context_beyond_the_window_fails_alone(models):
    long = tiny.request("How many?", [], ["y" * tiny.CONTEXT])
    [first, second] = await ImplicitReward(*models).score([long, PROBLEMS[2]])
    assert isinstance(first, Failed)
    assert rewards([second])


def test_a_model_that_tells_no_likelihood_is_refused(models):
    with pytest.raises(ConfigError, match="does not tell how likely"):
        ImplicitReward(models[0], ScriptedModel([]))


def test_specs():
    plain = parse_reward_spec("implicit:hf:a/b,hf:c/d")
    assert str(plain) == "implicit:hf:a/b,hf:c/d"
    assert plain.implicit.beta == 0.05
    assert plain.implicit.whole
    other = parse_reward_spec("implicit:step:beta=0.001:gguf:x,y.gguf,gguf:z.gguf")
    assert str(other) == "implicit:beta=0.001:step:gguf:x,y.gguf,gguf:z.gguf"
    assert str(other.implicit.model) == "gguf:x,y.gguf"
    assert not other.implicit.whole
    assert str(parse_reward_spec("implicit:beta=0.05:hf:a/b,hf:c/d")) == str(plain)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("implicit:hf:a/b", "must be implicit:MODEL,REFERENCE"),
        ("implicit:hf:a/b,nonsense", "must be implicit:MODEL,REFERENCE.*nonsense"),
        ("implicit:beta=0:hf:a/b,hf:c/d", "beta '0' must be above 0"),
        ("implicit:beta=x:hf:a/b,hf:c/d", "beta 'x' must be above 0"),
        ("implicit:vllm:a/b,vllm:c/d", "give their URLs"),
        ("implicit", "unknown model spec"),
    ],
)
def test_wrong_specs_say_what_is_meant(spec, said):
    with pytest.raises(ConfigError, match=said):
        parse_reward_spec(spec)


async def test_a_configuration_names_it(folders):
    spec = f"implicit:beta=0.2:hf:{folders[0][0]},hf:{folders[1][0]}"
    settings = {"reward": {"spec": spec}, "engine": {"device": "cpu", "slots": 2}}
    builder = ModelBuilder(RunConfig.model_validate(settings))
    try:
        reward = builder.reward()
        [reply] = await reward.score(PROBLEMS[:1])
        assert reply.rewards == pytest.approx(
            expected(PROBLEMS[0], folders, 0.2, whole=True), abs=1e-3
        )
        assert reward.describe()["reads"].startswith("sigmoid(0.2 * log(P / P_ref))")
        assert reward.shape is not None
    finally:
        builder.close()
    judged = {"reward": {"spec": spec, "good": "x"}}
    with pytest.raises(ValueError, match="good has no effect on a reward of kind implicit"):
        RunConfig.model_validate(judged)
