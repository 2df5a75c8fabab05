from __future__ import annotations

import asyncio
import random
import threading
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rsdecode.backends.transformers.load import LoadOptions
from rsdecode.backends.transformers.model import LocalModel
from rsdecode.backends.transformers.sampling import distribution, sample
from rsdecode.backends.transformers.speculation import judge
from rsdecode.core import speculation
from rsdecode.core.limits import Limits
from rsdecode.core.protocols import Models
from rsdecode.core.requests import Failed, Propose, Proposed, Sampling, Verified, Verify
from rsdecode.core.types import Context, FinishReason, Problem, Role, Segment
from rsdecode.methods import Single, Speculative
from rsdecode.session.drive import drive
from tests.backends.transformers import tiny

options = st.builds(
    Sampling,
    temperature=st.sampled_from([0.0, 0.5, 1.0]),
    top_p=st.sampled_from([0.6, 1.0]),
    top_k=st.sampled_from([0, 3]),
)


@settings(max_examples=30)
@given(options, st.integers(0, 1000))
def test_tokens_are_drawn_from_the_distribution(sampling: Sampling, seed: int) -> None:
    logits = torch.randn(6, generator=torch.Generator().manual_seed(seed))
    probabilities = distribution(logits, sampling)
    assert float(probabilities.sum()) == pytest.approx(1.0)
    grid = [(i + 0.5) / 100 for i in range(100)]
    tokens = sample(logits.expand(100, 6), [sampling] * 100, grid)
    for token, probability in enumerate(probabilities.tolist()):
        assert tokens.count(token) / 100 == pytest.approx(probability, abs=0.011)


@given(options, st.integers(0, 4), st.booleans(), st.integers(0, 10_000))
def test_the_verdict_is_that_of_the_pure_rule(
    sampling: Sampling, count: int, follows: bool, seed: int
) -> None:
    source = torch.Generator().manual_seed(seed)
    drawn = torch.randn(count, 5, generator=source).double().softmax(-1)
    logits = torch.randn(count + follows, 5, generator=source)
    draw = random.Random(seed)
    proposed = [draw.randrange(5) for _ in range(count)]
    uniforms = [draw.random() for _ in range(count + 1)]
    target = [distribution(row, sampling).tolist() for row in logits]
    expected = speculation.judge(proposed, drawn.tolist(), target, uniforms)
    assert judge(proposed, drawn, logits, sampling, uniforms) == expected


def test_models_that_pad_one_vocabulary_differently_are_compared_token_by_token() -> None:
    drawn = torch.tensor([[0.5, 0.5, 0.0, 0.0]]).double()
    logits = torch.tensor([[0.0, 9.0], [9.0, 0.0]])
    assert judge([1], drawn, logits, Sampling(), [0.9, 0.0]) == (1, 0)
    assert judge([0], drawn, logits, Sampling(), [0.9, 0.0]) == (0, 1)


def models(draft_seed: int = 0, max_context: int = 300) -> Models:
    tokenizer = tiny.tokenizer()
    load = LoadOptions(slots=3, max_context=max_context)
    draft = LocalModel(tiny.causal_model(seed=draft_seed), tokenizer, load)
    target = LocalModel(tiny.causal_model(seed=0), tokenizer, load)
    return Models(draft=draft, target=target)


@pytest.mark.parametrize("draft_seed", [0, 1])
@pytest.mark.parametrize("max_context", [300, 80])
def test_greedy_speculative_decoding_writes_what_the_target_writes(
    draft_seed: int, max_context: int
) -> None:
    """A draft that is the target itself, and one that is always wrong; also a full context."""
    both = models(draft_seed, max_context)
    limits = Limits(max_tokens=70)
    for question in ("ä→日 the", "5 + 7 ="):
        problem = Problem.ask(question)
        alone = drive(Single(Role.TARGET, limits=limits)(problem), both)
        trajectory = drive(Speculative(limits=limits)(problem), both)
        assert trajectory.text == alone.text
        assert trajectory.stop_reason == alone.stop_reason
        usage = trajectory.ledger.target
        if draft_seed == 0:
            assert usage.accepted_tokens == usage.verified_tokens > 0
        else:
            assert usage.accepted_tokens < usage.verified_tokens
    both.close()


async def test_a_verification_reuses_the_cache_and_computes_the_proposal_alone() -> None:
    both = models()
    draft, target = both.draft, both.target
    assert isinstance(draft, LocalModel)
    assert isinstance(target, LocalModel)
    context = Context(Problem.ask("the the").messages)
    [first] = await draft.propose([Propose(context, 4, session="a")])
    assert isinstance(first, Proposed)
    assert first.finish_reason is FinishReason.STEP_LIMIT
    [verified] = await target.verify([Verify(context, first, session="a")])
    assert isinstance(verified, Verified)
    assert verified.accepted == 4
    assert verified.usage.verified_tokens == 4
    longer = context.followed_by(verified.segment)
    [second] = await draft.propose([Propose(longer, 4, session="a")])
    assert isinstance(second, Proposed)
    [again] = await target.verify([Verify(longer, second, session="a")])
    assert isinstance(again, Verified)
    assert again.usage.prefill_tokens == 5
    both.close()


async def test_tokens_of_another_vocabulary_are_refused() -> None:
    both = models()
    target = both.target
    assert isinstance(target, LocalModel)
    foreign = Proposed(Segment("x"), None, FinishReason.STEP_LIMIT)
    [reply] = await target.verify([Verify(Context(Problem.ask("x").messages), foreign)])
    assert isinstance(reply, Failed)
    assert "vocabulary" in str(reply.error)
    both.close()


async def test_a_verdict_does_not_hold_up_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop goes on while a verdict is computed, however long that takes."""
    both = models()
    model: Any = both.target
    context = Context(Problem.ask("x").messages)
    [proposal] = await model.propose([Propose(context, 3, session="a")])
    assert isinstance(proposal, Proposed)
    judging, gone_on = threading.Event(), threading.Event()
    verified = model._speculator.verified

    def slow(*given: Any) -> Any:
        judging.set()
        assert gone_on.wait(20), "the loop stood still"
        return verified(*given)

    speculator = SimpleNamespace(verified=slow, verification_job=model._speculator.verification_job)
    monkeypatch.setattr(model, "_speculator", speculator)
    task = asyncio.create_task(model.verify([Verify(context, proposal, session="a")]))
    while not judging.is_set():
        await asyncio.sleep(0.01)
    gone_on.set()
    [reply] = await task
    assert isinstance(reply, Verified)
    both.close()
