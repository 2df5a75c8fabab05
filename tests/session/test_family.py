"""Events of the embedded family: real models, real text."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from rsdecode.config import RunConfig
from rsdecode.config.build import build_method, build_models
from rsdecode.core.protocols import Models
from rsdecode.core.types import Ledger, Problem, Role, Usage
from rsdecode.models.abacus import problems
from rsdecode.session.events import Decided, Delta, Finished
from rsdecode.session.session import Session


@pytest.fixture(scope="module")
def family() -> Iterator[Models]:
    models = build_models(RunConfig())
    yield models
    models.close()


async def test_the_final_text_of_a_hundred_problems_is_their_trajectory(family: Models) -> None:
    some = [Problem.ask(p.question, id=p.id) for p in problems("test", limit=100)]
    method = build_method(RunConfig())
    async with Session(family) as session:
        handles = [session.submit(problem, method) for problem in some]
    deltas = 0
    for handle in handles:
        events = [event async for event in handle]
        trajectory = await handle.result()
        decided = [event.step for event in events if isinstance(event, Decided)]
        assert "".join(step.text for step in decided) == trajectory.text
        assert events[-1] == Finished(trajectory)
        for index, step in enumerate(decided):
            texts = ["".join(_written(events, index, role)) for role in (Role.DRAFT, Role.TARGET)]
            assert texts[step.source is Role.TARGET] == step.text
            deltas += sum(map(len, texts))
        assert not trajectory.error
    assert deltas > 10_000


def _written(events: list[Any], index: int, role: Role) -> list[str]:
    wanted = (role, index)
    return [e.text for e in events if isinstance(e, Delta) and (e.role, e.step) == wanted]


async def test_cancelling_during_a_step_ends_the_work_within_a_decode_step(
    family: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    target: Any = family.target
    network, passes = target._engine._network, 0
    forward = network.forward

    def counting(*given: Any, **options: Any) -> Any:
        nonlocal passes
        passes += 1
        return forward(*given, **options)

    monkeypatch.setattr(network, "forward", counting)
    method = build_method(RunConfig(method="target"))
    [some] = problems("test", limit=1)
    session = Session(family)
    handle = session.submit(Problem.ask(some.question), method)
    async for event in handle:
        if isinstance(event, Delta):
            break
    handle.cancel()
    at = passes
    trajectory = await handle.result()
    assert trajectory.stop_reason == "cancelled"
    for _ in range(200):
        if not target._engine.load:
            break
        await asyncio.sleep(0.01)
    assert target._engine.load == 0
    assert passes <= at + 2  # the pass under way, and one that began before the news came


@pytest.mark.parametrize("temperature", [0.0, 1.0])
async def test_a_target_that_takes_guesses_writes_what_it_writes_alone(
    family: Models, temperature: float
) -> None:
    some = [Problem.ask(p.question, id=p.id) for p in problems("test", limit=3)]
    sampling = {role: {"temperature": temperature} for role in ("draft", "target")}
    answers, target, draft = dict[str, list[Any]](), dict[str, Usage](), dict[str, Usage]()
    for fallback in ("decode", "verify", "speculate"):
        config = {"fallback": fallback, "sampling": sampling, "weighting": {"threshold": 0.9}}
        method = build_method(RunConfig.model_validate(config))
        async with Session(family) as session:
            handles = [session.submit(problem, method) for problem in some]
            answers[fallback] = [await handle.result() for handle in handles]
        ledger = sum((answer.ledger for answer in answers[fallback]), Ledger())
        target[fallback], draft[fallback] = ledger.target, ledger.draft
    alone = target["decode"].decoded_tokens
    for fallback in ("verify", "speculate"):
        pairs = zip(answers["decode"], answers[fallback], strict=True)
        assert all(a.text == b.text and len(a.steps) == len(b.steps) for a, b in pairs)
        used = target[fallback]
        assert used.verified_tokens > used.accepted_tokens > 0
        assert used.decoded_tokens + used.accepted_tokens == alone
        assert used.decoded_tokens < alone / 2
    assert draft["verify"].decoded_tokens == draft["decode"].decoded_tokens
    assert draft["speculate"].decoded_tokens > draft["decode"].decoded_tokens


async def test_guesses_of_the_draft_are_no_events(family: Models) -> None:
    """What is told of an answer is the same, and the target's text comes as it is written."""
    [some] = problems("test", limit=1)
    told = dict[str, list[Any]]()
    for fallback in ("decode", "speculate"):
        config = {"fallback": fallback, "weighting": {"kind": "constant", "p": 0.0}}
        async with Session(family) as session:
            handle = session.submit(
                Problem.ask(some.question), build_method(RunConfig.model_validate(config))
            )
            told[fallback] = [event async for event in handle]
    texts = {
        fallback: {
            (role, index): "".join(_written(events, index, role))
            for role in (Role.DRAFT, Role.TARGET)
            for index in range(20)
        }
        for fallback, events in told.items()
    }
    assert texts["decode"] == texts["speculate"]
    others = {
        fallback: [event for event in events if not isinstance(event, Delta | Finished)]
        for fallback, events in told.items()
    }
    assert others["decode"] == others["speculate"]
