from __future__ import annotations

import asyncio
import math
from itertools import pairwise

import pytest
import torch
from transformers import AutoModelForCausalLM

from rsdecode.backends.scripted import ScriptedReward
from rsdecode.backends.transformers.model import LocalModel, load_model
from rsdecode.core.errors import ConfigError, RewardError
from rsdecode.core.protocols import Models
from rsdecode.core.requests import (
    Assess,
    Assessed,
    Failed,
    Generate,
    Generated,
    Sampling,
    Score,
    Scored,
)
from rsdecode.core.segment import PARAGRAPH, Boundary
from rsdecode.core.types import Context, FinishReason, Message, Problem, Role, Segment
from rsdecode.methods import RSD
from rsdecode.models.abacus import model_path, problems
from rsdecode.rewards.calibrated import CalibratedReward
from rsdecode.rewards.calibration import Calibration
from rsdecode.rewards.gates import (
    AgreementReward,
    CascadeReward,
    ConfidenceReward,
    LikelihoodReward,
    Pooling,
)
from rsdecode.session.drive import drive

QUESTIONS = [p.question for p in problems("validation", limit=6)]
PLAIN = Sampling(temperature=1.0)


@pytest.fixture(scope="module")
def draft():
    model = load_model(str(model_path("draft")))
    model.tell_logprobs()
    yield model
    model.close()


@pytest.fixture(scope="module")
def target():
    model = load_model(str(model_path("target")))
    yield model
    model.close()


def context(question: str, *steps: Segment) -> Context:
    return Context((Message("user", question),), steps)


async def written(model: LocalModel, where: Context, **options: object) -> Generated:
    request = Generate(Role.DRAFT, where, 200, **{"boundary": PARAGRAPH, **options})  # type: ignore[arg-type]
    [reply] = await model.generate([request])
    assert isinstance(reply, Generated)
    return reply


async def assessed(model: LocalModel, request: Assess) -> Assessed:
    [reply] = await model.assess([request])
    assert isinstance(reply, Assessed)
    return reply


def plain_logprobs(
    model: LocalModel, where: Context, step: Segment, temperature: float = 1.0
) -> tuple[list[float], list[bool]]:
    """By a forward pass of transformers over the whole sequence, without our engine."""
    network = AutoModelForCausalLM.from_pretrained(model_path("target"), dtype=torch.float32)
    before = model._prompts.context_ids(where)
    ids = model._prompts.text_ids(step.text) if step.tokens is None else step.tokens.ids
    with torch.inference_mode():
        logits = network(torch.tensor([[*before, *ids]])).logits[0, len(before) - 1 : -1]
    rows = (logits / temperature).log_softmax(-1)
    picked = rows[range(len(ids)), list(ids)]
    return picked.tolist(), [int(i) == j for i, j in zip(logits.argmax(-1), ids, strict=True)]


@pytest.mark.parametrize("temperature", [1.0, 0.5])
async def test_the_target_finds_a_step_as_likely_as_plain_transformers(
    draft: LocalModel, target: LocalModel, temperature: float
) -> None:
    for question in QUESTIONS:
        first = await written(draft, context(question))
        where = context(question, first.segment)
        second = await written(draft, where)
        asked = Assess(where, (second.segment,), Sampling(temperature=temperature), session="s")
        [likelihood] = (await assessed(target, asked)).steps
        logprobs, firsts = plain_logprobs(target, where, second.segment, temperature)
        assert likelihood.logprobs == pytest.approx(logprobs, abs=1e-4)
        assert list(likelihood.firsts) == firsts
        assert len(logprobs) > 5


async def test_several_steps_of_one_request_are_told_apart(target: LocalModel) -> None:
    steps = (Segment("Ada has 1 + 2 = 3 apples.\n\n"), Segment("The answer is 3."))
    together = await assessed(target, Assess(context("q"), steps))
    first = await assessed(target, Assess(context("q"), steps[:1]))
    second = await assessed(target, Assess(context("q", steps[0]), steps[1:]))
    for ours, alone in zip(together.steps, (first.steps[0], second.steps[0]), strict=True):
        assert ours.logprobs == pytest.approx(alone.logprobs, abs=1e-4)
    assert together.usage.verified_tokens == sum(len(s.logprobs) for s in together.steps)


@pytest.mark.parametrize(
    "sampling",
    [Sampling(), PLAIN, Sampling(temperature=0.7), Sampling(1.0, top_p=0.9), Sampling(2.0, 1.0, 3)],
)
async def test_a_draft_tells_what_the_same_model_is_told_to_find(
    draft: LocalModel, sampling: Sampling
) -> None:
    """Log-probabilities of what is written are those under which it was drawn, its end included."""
    ends = 0
    for seed, question in enumerate(QUESTIONS):
        where = context(question)
        for _ in range(12):
            reply = await written(draft, where, sampling=sampling, seed=seed)
            logprobs, tokens = reply.segment.logprobs, reply.segment.tokens
            assert logprobs is not None
            assert tokens is not None
            ended = reply.finish_reason is FinishReason.EOS
            ends += ended
            assert len(logprobs) == len(tokens.ids) + ended
            asked = Assess(where, (reply.segment,), sampling, ended)
            [likelihood] = (await assessed(draft, asked)).steps
            assert likelihood.logprobs == pytest.approx(logprobs, abs=1e-4)
            assert all(map(math.isfinite, logprobs))
            if ended:
                break
            where = where.followed_by(reply.segment)
    assert ends == len(QUESTIONS)


async def test_what_a_step_cuts_off_has_no_logprob(draft: LocalModel) -> None:
    reply = await written(draft, context(QUESTIONS[0]), boundary=Boundary((" ",)))
    assert reply.segment.logprobs is not None
    assert reply.segment.tokens is not None
    assert len(reply.segment.logprobs) == len(reply.segment.tokens.ids)


async def test_nothing_is_told_unless_somebody_asks(target: LocalModel) -> None:
    assert (await written(target, context(QUESTIONS[0]))).segment.logprobs is None


async def test_the_likelihood_is_the_rule_of_the_logprobs(
    draft: LocalModel, target: LocalModel
) -> None:
    where = context(QUESTIONS[1])
    step = (await written(draft, where, sampling=Sampling(2.0), seed=3)).segment
    logprobs, firsts = plain_logprobs(target, where, step)
    rules = {
        Pooling(): math.exp(sum(logprobs) / len(logprobs)),
        Pooling("min"): math.exp(min(logprobs)),
        Pooling(length=0.5): math.exp(sum(logprobs) / math.sqrt(len(logprobs))),
    }
    for rule, expected in rules.items():
        [reply] = await LikelihoodReward(target, rule).score([Score(where, (step,))])
        assert isinstance(reply, Scored)
        assert reply.rewards == pytest.approx([expected], abs=1e-4)
    agreed = firsts.index(False)
    [all_of, three] = [
        await AgreementReward(target, n).score([Score(where, (step,))]) for n in (0, 3)
    ]
    assert all_of[0].rewards == pytest.approx([agreed / len(firsts)])  # type: ignore[union-attr]
    assert three[0].rewards == pytest.approx([min(agreed, 3) / 3])  # type: ignore[union-attr]


async def test_agreement_is_what_the_target_would_have_written(
    draft: LocalModel, target: LocalModel
) -> None:
    for question in QUESTIONS:
        where = context(question)
        ours = (await written(draft, where, sampling=Sampling(1.5), seed=1)).segment.tokens
        theirs = (await written(target, where)).segment.tokens
        assert ours is not None
        assert theirs is not None
        pairs = list(zip(ours.ids, theirs.ids, strict=False))
        same = next((i for i, (a, b) in enumerate(pairs) if a != b), len(pairs))
        step = Segment("", ours)
        [reply] = await AgreementReward(target).score([Score(where, (step,))])
        assert isinstance(reply, Scored)
        assert reply.rewards == pytest.approx([same / len(ours.ids)])


def test_the_step_that_was_read_is_paid_for_once(draft: LocalModel, target: LocalModel) -> None:
    """The reward's ledger has the target's reading; what it has read it need not read to write."""
    never = RSD(weighting=lambda _: 0.0)  # type: ignore[arg-type]
    problem = Problem.ask(QUESTIONS[2], id="paid")
    models = Models(draft, target, LikelihoodReward(target))
    trajectory = drive(never(problem), models)
    reward, written_by = trajectory.ledger.reward, trajectory.ledger.target
    steps = len(trajectory.steps)
    assert steps > 1
    prompt = len(target._prompts.prompt_ids(problem.messages))
    assert prompt <= reward.prefill_tokens < reward.prefill_tokens + reward.cached_tokens
    assert reward.verified_tokens > 0
    assert written_by.prefill_tokens <= steps + 1, "the context was read for the reward"
    assert trajectory.token_acceptance_rate is None


async def test_confidence_reads_the_step_and_computes_nothing(draft: LocalModel) -> None:
    where = context(QUESTIONS[0])
    step = (await written(draft, where)).segment
    assert step.logprobs is not None
    for rule in (Pooling(), Pooling("min")):
        [reply] = await ConfidenceReward(draft, rule).score([Score(where, (step,))])
        assert isinstance(reply, Scored)
        assert reply.rewards == (rule.reward(step.logprobs),)
        assert reply.usage.prefill_tokens == reply.usage.decoded_tokens == 0


async def test_confidence_refuses_a_step_that_is_not_the_drafts(draft: LocalModel) -> None:
    reward = ConfidenceReward(draft)
    unknown, nothing = await reward.score(
        [Score(context("q"), (Segment("1 + 1 = 2."),)), Score(context("q"), ())]
    )
    assert isinstance(unknown, Failed)
    assert isinstance(unknown.error, RewardError)
    assert "another reward" in str(unknown.error)
    assert isinstance(nothing, Failed)


def test_models_that_do_not_tell_are_refused() -> None:
    with pytest.raises(ConfigError, match="does not tell how likely"):
        LikelihoodReward(object())
    with pytest.raises(ConfigError, match="does not tell how likely"):
        AgreementReward(object())
    with pytest.raises(ConfigError, match="does not tell the log-probabilities"):
        ConfidenceReward(object())


def cascade(low: float, high: float) -> tuple[CascadeReward, list[int]]:
    """First: the length of a step / 10; second: 0.5, counting what it is asked."""
    asked: list[int] = []

    def second(request: Score) -> list[float]:
        asked.append(len(request.steps))
        return [0.5] * len(request.steps)

    first = ScriptedReward(lambda r: [len(step.text) / 10 for step in r.steps])
    return CascadeReward(first, ScriptedReward(second), low, high), asked


@pytest.mark.parametrize(
    ("steps", "rewards", "second"),
    [
        (["a"], [0.0], []),
        (["a" * 9], [1.0], []),
        (["a" * 8], [1.0], []),
        (["a" * 5], [0.5], [1]),
        (["a" * 2], [0.5], [1]),
        (["a", "a" * 5, "a" * 9], [0.0, 0.5, 1.0], [3]),
    ],
)
async def test_a_cascade_asks_the_second_only_where_the_first_is_not_sure(
    steps: list[str], rewards: list[float], second: list[int]
) -> None:
    reward, asked = cascade(0.2, 0.8)
    [reply] = await reward.score([Score(context("q"), tuple(map(Segment, steps)))])
    assert isinstance(reply, Scored)
    assert list(reply.rewards) == rewards
    assert asked == second
    assert reply.usage.calls == 1 + len(second)


async def test_a_cascade_isolates_failures() -> None:
    def fails(request: Score) -> float:
        if request.steps[0].text == "bad":
            raise RewardError("no")
        return 0.5

    reward = CascadeReward(ScriptedReward(fails), ScriptedReward(fails), 0.2, 0.8)
    replies = await reward.score(
        [Score(context("q"), (Segment(text),)) for text in ("fine", "bad", "fine")]
    )
    assert [isinstance(reply, Failed) for reply in replies] == [False, True, False]


@pytest.mark.parametrize("bounds", [(-0.1, 0.5), (0.6, 0.5), (0.5, 1.1)])
def test_bounds_are_an_interval(bounds: tuple[float, float]) -> None:
    nothing = ScriptedReward(lambda _: 0.0)
    with pytest.raises(ConfigError, match="low <= high"):
        CascadeReward(nothing, nothing, *bounds)


@pytest.mark.parametrize(("how", "length"), [("max", 1.0), ("mean", -0.1), ("mean", 1.1)])
def test_a_rule_is_checked(how: str, length: float) -> None:
    with pytest.raises(ValueError, match="must be"):
        Pooling(how, length)  # type: ignore[arg-type]


def test_an_empty_step_is_certain() -> None:
    assert Pooling().reward([]) == Pooling("min").reward([]) == 1.0


def test_a_step_beyond_the_context_ends_its_problem_with_a_reason(target: LocalModel) -> None:
    long = Segment("1 + 1 = 2. " * 2000)
    [reply] = asyncio.run(LikelihoodReward(target).score([Score(context("q"), (long,))]))
    assert isinstance(reply, Failed)
    assert "limit the answer's tokens" in str(reply.error)


async def test_the_least_likely_token_tells_the_rewards_of_all(target: LocalModel) -> None:
    texts = ("Adding 12 gives 25.\n\n", "So it is 2 * 5 = 11.\n\n")
    where, steps = context(QUESTIONS[0]), tuple(map(Segment, texts))
    gate = LikelihoodReward(target, Pooling("min"))
    [reply] = await gate.score([Score(where, steps, by_token=True)])
    assert isinstance(reply, Scored)
    for text, reward, tokens in zip(texts, reply.rewards, reply.tokens, strict=True):
        ends = [token.end for token in tokens]
        assert ends == sorted(ends)
        assert ends[-1] == len(text)
        assert min(token.reward for token in tokens) == pytest.approx(reward, abs=1e-9)
        pieces = [text[a:b] for a, b in pairwise([0, *ends])]
        assert pieces[-2:] == [".", "\n\n"]
    [plain] = await gate.score([Score(where, steps)])
    assert isinstance(plain, Scored)
    assert (plain.rewards, plain.tokens) == (reply.rewards, ())
    [mean] = await LikelihoodReward(target).score([Score(where, steps, by_token=True)])
    assert isinstance(mean, Scored)
    assert mean.tokens == ()  # no token has the reward of a mean
    halved = CalibratedReward(gate, Calibration((0.0, 1.0), (0.0, 0.5)))
    [mapped] = await halved.score([Score(where, steps, by_token=True)])
    assert isinstance(mapped, Scored)
    assert mapped.tokens[0][0].reward == pytest.approx(reply.tokens[0][0].reward / 2)
