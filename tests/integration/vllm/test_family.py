"""The embedded family behind three real servers: the same as in this process."""

from __future__ import annotations

import asyncio
import re
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from rsdecode.config import RunConfig
from rsdecode.config.build import build_method, build_models
from rsdecode.core.protocols import Models
from rsdecode.core.requests import Generate, Score, Scored
from rsdecode.core.types import Context, Ledger, Message, Problem, Role, Segment, Trajectory
from rsdecode.models.abacus import problems
from rsdecode.session.job import Job
from rsdecode.session.session import Session

from .conftest import family

pytestmark = pytest.mark.integration
COUNT = 100
COUNTERS = ("prompt_tokens", "generation_tokens", "prefix_cache_hits")


@pytest.fixture(scope="module")
def local() -> Iterator[Models]:
    models = build_models(RunConfig())
    yield models
    models.close()


@pytest.fixture(scope="module")
def served() -> Iterator[Models]:
    models = build_models(family())
    yield models
    models.close()


def questions(count: int) -> list[Problem]:
    return [Problem.ask(p.question, id=p.id) for p in problems("test", limit=count)]


async def solve(models: Models, asked: list[Problem]) -> dict[str, Trajectory]:
    method = build_method(RunConfig())
    jobs = [Job(problem, method) for problem in asked]
    return {t.problem.id: t async for t in Session(models, concurrency=32).run(jobs)}


async def greet(models: Models, role: Role) -> None:
    context = Context((Message("user", "How many?"),))
    if role is Role.REWARD:
        await models.reward_model().score([Score(context, (Segment("Two.\n\n"),))])
    else:
        await models.language_model(role).generate([Generate(role, context, max_tokens=4)])


def counted(model: Any) -> dict[str, int]:
    """What a server says that it has computed since it started."""
    [address] = re.findall(r"http://\S+?(?=/v1)", " ".join(model.describe().values()))
    with urllib.request.urlopen(f"{address}/metrics", timeout=30) as reply:
        text = reply.read().decode()
    return {
        name: sum(
            int(float(value)) for value in re.findall(rf"^vllm:{name}_total\S* (\S+)$", text, re.M)
        )
        for name in COUNTERS
    }


def test_trajectories_scores_and_tokens(local: Models, served: Models) -> None:
    asked = questions(COUNT)
    roles = {Role.DRAFT: served.draft, Role.TARGET: served.target, Role.REWARD: served.reward}

    async def run() -> tuple[dict[str, Trajectory], dict[Role, dict[str, int]]]:
        for role in Role:  # what is found out about a server is asked now
            await greet(served, role)
        before = {role: counted(model) for role, model in roles.items()}
        found = await solve(served, asked)
        after = {role: counted(model) for role, model in roles.items()}
        return found, {r: {n: after[r][n] - before[r][n] for n in COUNTERS} for r in roles}

    found, computed = asyncio.run(run())
    expected = asyncio.run(solve(local, asked))

    assert all(trajectory.error is None for trajectory in found.values())
    same = [
        id
        for id, trajectory in expected.items()
        if [(s.text, s.source) for s in found[id].steps]
        == [(s.text, s.source) for s in trajectory.steps]
    ]
    rewards = [
        abs((mine.reward or 0.0) - (theirs.reward or 0.0))
        for id in same
        for mine, theirs in zip(expected[id].steps, found[id].steps, strict=True)
    ]
    print(f"{len(same)} of {COUNT} identical; rewards differ by at most {max(rewards):.2e}")
    assert len(same) >= 0.95 * COUNT
    assert max(rewards) < 1e-3

    ledger = sum((trajectory.ledger for trajectory in found.values()), Ledger())
    for role in Role:
        usage = ledger.of(role)
        print(role, usage, computed[role])
        assert usage.decoded_tokens == computed[role]["generation_tokens"]
        assert usage.prefill_tokens + usage.cached_tokens == computed[role]["prompt_tokens"]
        assert usage.cached_tokens == computed[role]["prefix_cache_hits"]
        assert usage.cached_tokens > 0


def test_every_score_is_the_same(local: Models, served: Models) -> None:
    """Also of steps that make no sense, and of a whole answer at once."""
    requests = []
    for problem in questions(20):
        texts = [f"{problem.question.split()[0]} has {i} things left.\n\n" for i in range(4)]
        steps = tuple(map(Segment, texts))
        requests.append(Score(Context((Message("user", problem.question),)), steps, problem.id))

    async def scored(models: Models) -> list[float]:
        replies = await models.reward_model().score(requests)
        assert all(isinstance(reply, Scored) for reply in replies), replies
        return [reward for reply in replies for reward in reply.rewards]

    async def all_three() -> list[list[float]]:
        return [await scored(local), await scored(served), await scored(served)]

    mine, theirs, again = asyncio.run(all_three())
    assert theirs == pytest.approx(mine, abs=1e-3)
    assert again == pytest.approx(mine, abs=1e-3), "when the server has them all in its cache"
    assert len(set(mine)) > 10
