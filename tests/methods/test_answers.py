from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsdecode.backends.scripted import ScriptedModel, ScriptedReward
from rsdecode.core.protocols import Models
from rsdecode.core.requests import Sampling
from rsdecode.core.segment import PARAGRAPH
from rsdecode.core.types import FinishReason, Problem, Role, ToldToken
from rsdecode.methods import BestOfN, Majority, Method, Single
from rsdecode.methods.answers import steps_of
from rsdecode.methods.thinking import Part
from rsdecode.session.job import Job
from rsdecode.session.session import Session


@given(st.text(alphabet="ab \n", min_size=1), st.integers(0, 300))
def test_the_steps_tokens_add_up(text: str, tokens: int) -> None:
    parts = [Part(part) for part in PARAGRAPH.split(text)]
    steps = steps_of(parts, Role.DRAFT, FinishReason.EOS, tokens=tokens)
    assert sum(step.token_count for step in steps) == tokens
    for step in steps:
        assert step.token_count == pytest.approx(tokens * len(step.text) / len(text), abs=1)


@given(st.lists(st.sampled_from(["a", "", " b", ".\n", "\n\n", "\n\nc"]), min_size=1))
def test_each_token_is_told_by_the_step_in_which_it_begins(texts: list[str]) -> None:
    told = [ToldToken(text, -float(i)) for i, text in enumerate(texts)]
    text = "".join(texts)
    parts = [Part(part) for part in PARAGRAPH.split(text)]
    steps = steps_of(parts, Role.DRAFT, FinishReason.EOS, tokens=9, told=told)
    found = [token for step in steps for token in step.segment.told or ()]
    assert found == (told if text else [])
    at = start = 0
    for step in steps:
        for token in step.segment.told or ():
            assert start <= at or not token.text
            assert at < start + len(step.text) or not token.text
            at += len(token.text)
        start += len(step.text)


@pytest.mark.parametrize(
    "method", [Single(Role.DRAFT), Majority(1), BestOfN(1), Majority(3, sampling=Sampling(0.7))]
)
async def test_they_add_up_to_what_the_ledger_says_of_the_answer(method: Method) -> None:
    model = ScriptedModel(lambda _: "One and one.\n\nThat is two.\n\nSo \\boxed{2}")
    models = Models(model, model, ScriptedReward(lambda request: [0.5] * len(request.steps)))
    [trajectory] = [t async for t in Session(models).run([Job(Problem.ask("q"), method)])]
    tokens = [step.token_count for step in trajectory.steps]
    samples = getattr(method, "samples", 1)
    assert len(tokens) == 3
    assert all(tokens)
    assert sum(tokens) * samples == trajectory.ledger.draft.decoded_tokens > 0
