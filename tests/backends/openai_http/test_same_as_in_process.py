"""The embedded family over real HTTP gives what it gives in this process."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

import pytest

from rsdecode.backends.openai_http import Address, HttpSettings, ServedModel, Transport
from rsdecode.backends.transformers.model import LocalModel, load_model
from rsdecode.core.protocols import Models
from rsdecode.core.types import Problem, Role, Trajectory
from rsdecode.methods import RSD
from rsdecode.models.abacus import model_path, problems
from rsdecode.rewards.load import load_reward_model
from rsdecode.rewards.served import load_served_reward
from rsdecode.session.job import Job
from rsdecode.session.session import Session
from tests.backends.openai_http.local_server import LocalServer
from tests.backends.openai_http.model_server import NAME, Completions, pooling

QUESTIONS = [
    Problem.ask(p.question, id=str(i)) for i, p in enumerate(problems("validation", limit=10))
]


@pytest.fixture(scope="module")
def local():
    models = Models(
        load_model(str(model_path("draft"))),
        load_model(str(model_path("target"))),
        load_reward_model(str(model_path("prm"))),
    )
    yield models
    models.close()


async def solve(models: Models, questions: list[Problem]) -> list[Trajectory]:
    jobs = [Job(problem, RSD()) for problem in questions]
    ended = [t async for t in Session(models).run(jobs)]
    return sorted(ended, key=lambda t: int(t.problem.id))


def transport(server: LocalServer) -> Transport:
    return Transport(Address((server.url,), NAME), HttpSettings())


def decided(trajectory: Trajectory) -> list[tuple[Any, ...]]:
    return [
        (s.segment, s.source, s.finish_reason, s.accepted, s.token_count) for s in trajectory.steps
    ]


async def test_identical_trajectories_and_the_servers_own_token_counts(local: Models) -> None:
    expected = await solve(local, QUESTIONS)
    writers = [m for m in (local.draft, local.target) if isinstance(m, LocalModel)]
    apps = [Completions(model) for model in writers]
    async with AsyncExitStack() as stack:
        answers = [*apps, pooling(local.reward)]  # pyright: ignore
        draft, target, reward = [
            await stack.enter_async_context(LocalServer(answer)) for answer in answers
        ]
        served = Models(
            ServedModel(transport(draft), tokenizer=writers[0]._tokenizer),
            ServedModel(transport(target), tokenizer=writers[1]._tokenizer),
            load_served_reward(transport(reward), str(model_path("prm"))),
        )
        found = await solve(served, QUESTIONS)
    assert [decided(t) for t in found] == [decided(t) for t in expected]
    assert [t.stop_reason for t in found] == [t.stop_reason for t in expected]
    for ours, theirs in zip(found, expected, strict=True):
        scores = [step.reward for step in ours.steps]
        assert scores == pytest.approx([step.reward for step in theirs.steps], abs=1e-4)
    assert {step.source for t in found for step in t.steps} == {Role.DRAFT, Role.TARGET}
    trial = 1  # token of the request that finds out whether ids are taken
    for role, app in zip((Role.DRAFT, Role.TARGET), apps, strict=True):
        usage = [t.ledger.of(role) for t in found]
        assert sum(u.decoded_tokens for u in usage) == app.decoded_tokens - trial
        read = sum(u.prefill_tokens + u.cached_tokens for u in usage)
        trial_prompt = len(writers[0]._prompts.text_ids("1 + 1 ="))
        assert read == app.prompt_tokens - trial_prompt
        assert sum(u.cached_tokens for u in usage) > 0
    prompts = [b["prompt"] for path, b in draft.requests if path.endswith("/completions")]
    assert all(isinstance(prompt, list) for prompt in prompts)


async def test_a_server_that_reads_text_and_hides_why_it_stopped(local: Models) -> None:
    assert isinstance(local.draft, LocalModel)
    writer = Models(local.draft, local.draft, local.reward)
    expected = await solve(writer, QUESTIONS[:5])
    async with LocalServer(Completions(local.draft, "plain")) as server:
        model = ServedModel(transport(server), tokenizer=local.draft._tokenizer)
        found = await solve(Models(model, model, local.reward), QUESTIONS[:5])
    assert [t.text for t in found] == [t.text for t in expected]
    assert [t.stop_reason for t in found] == [t.stop_reason for t in expected]
    assert all(isinstance(body["prompt"], str) for path, body in server.requests[2:])
    assert any(body.get("max_tokens") == 1 and "stop" not in body for _, body in server.requests)
