"""Events of the embedded family: real models, real text."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from rsdecode.config import RunConfig
from rsdecode.config.build import build_method, build_models
from rsdecode.core.protocols import Models
from rsdecode.core.types import Problem, Role
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
async def test_a_target_that_verifies_writes_what_it_writes_alone(
    family: Models, temperature: float
) -> None:
    some = [Problem.ask(p.question, id=p.id) for p in problems("test", limit=5)]
    sampling = {role: {"temperature": temperature} for role in ("draft", "target")}
    answers = dict[str, list[Any]]()
    for fallback in ("decode", "verify"):
        config = {"fallback": fallback, "sampling": sampling, "weighting": {"threshold": 0.9}}
        method = build_method(RunConfig.model_validate(config))
        async with Session(family) as session:
            handles = [session.submit(problem, method) for problem in some]
            answers[fallback] = [await handle.result() for handle in handles]
    pairs = list(zip(answers["decode"], answers["verify"], strict=True))
    assert all(a.text == b.text and len(a.steps) == len(b.steps) for a, b in pairs)
    verified = [b.ledger.target for _, b in pairs]
    read = sum(usage.verified_tokens for usage in verified)
    kept = sum(usage.accepted_tokens for usage in verified)
    assert read > kept > 0
    alone = sum(a.ledger.target.decoded_tokens for a, _ in pairs)
    assert sum(usage.decoded_tokens for usage in verified) + kept == alone
