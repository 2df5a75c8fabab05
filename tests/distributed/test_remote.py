"""A model in replicas: asked again when one is lost, given up when nobody waits."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Sequence
from typing import Any

import pytest

from rsdecode.core.errors import ConfigError, RequestError
from rsdecode.core.protocols import (
    Assessor,
    Chooser,
    LanguageModel,
    Models,
    Proposer,
    RewardModel,
    Streamer,
)
from rsdecode.core.requests import Failed, Generate, Generated
from rsdecode.core.types import Context, FinishReason, Message, Problem, Role, Segment
from rsdecode.distributed import remote
from rsdecode.distributed.remote import ReplicaLost, remote_model
from rsdecode.distributed.replicas import Ability, Facts, ModelReplica
from rsdecode.methods import RSD
from rsdecode.session.job import Job
from rsdecode.session.session import Session

WHO = contextvars.ContextVar("WHO", default="nobody")
CONTEXT = Context((Message("user", "?"),))


class Replicas:
    """Answers with the request's seed; the first `losses` calls are lost after they ran."""

    def __init__(self, losses: int = 0, wait_s: float = 0.0) -> None:
        self.losses = losses
        self.wait_s = wait_s
        self.asked: list[tuple[str, Ability, list[Any], bool]] = []
        self.ended: list[tuple[str, str]] = []
        self.cancelled = 0
        self.asked_by: list[str] = []

    async def ask(
        self, key: str, ability: Ability, requests: Sequence[Any], *, logprobs: bool
    ) -> list[Any]:
        self.asked.append((key, ability, list(requests), logprobs))
        self.asked_by.append(WHO.get())
        try:
            await asyncio.sleep(self.wait_s)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.losses:
            self.losses -= 1
            raise ReplicaLost("it was killed")
        return [Generated(Segment(str(r.seed)), FinishReason.EOS) for r in requests]

    async def end(self, key: str, session: str) -> None:
        self.ended.append((key, session))


def model(replicas: Replicas, **facts: Any) -> Any:
    return remote_model(Role.TARGET, replicas, Facts(frozenset({"generate"}), **facts))


def request(session: str = "0/0", seed: int = 7) -> Generate:
    return Generate(Role.TARGET, CONTEXT, 5, seed=seed, session=session)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "PAUSES_S", (0.001,))


async def test_a_lost_replica_is_asked_again_with_the_same_request() -> None:
    replicas = Replicas(losses=3)
    [reply] = await model(replicas).generate([request()])
    assert reply.segment.text == "7"
    assert len({repr(asked) for asked in replicas.asked}) == 1
    assert len(replicas.asked) == 4


async def test_patience_ends_with_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "PATIENCE_S", 0.005)
    [reply] = await model(Replicas(losses=10**6)).generate([request()])
    assert isinstance(reply, Failed)
    assert isinstance(reply.error, RequestError)
    assert "no replica of the target has answered" in str(reply.error)


async def test_cancellation_reaches_the_replica() -> None:
    replicas = Replicas(wait_s=60)
    task = asyncio.create_task(model(replicas).generate([request()]))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert replicas.cancelled == 1


async def test_a_problem_keeps_its_replica_and_shares_no_name() -> None:
    replicas = Replicas()
    one, other = model(replicas), model(replicas)
    for front in (one, other):
        await front.generate([request("0/0"), request("0/0/branch")])
        await front.generate([request("0/0")])
        await front.generate([request("0/0~1")])
    keys = [key for key, _, _, _ in replicas.asked]
    assert keys[0] == keys[1] != keys[2]
    assert len(set(keys)) == 4
    names = [each.session for each in replicas.asked[0][2]]
    assert names == [keys[0], f"{keys[0]}/branch"]
    one.end("0/0")
    one.end("0/0")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert replicas.ended == [(keys[0], keys[0])]
    await one.generate([request("0/0")])
    assert replicas.asked[-1][0] not in keys


async def test_calls_belong_to_no_client() -> None:
    """Ray Serve cancels the calls of a client who leaves, found by the context."""
    WHO.set("a client")
    replicas = Replicas()
    await model(replicas).generate([request()])
    assert replicas.asked_by == ["nobody"]


async def test_it_can_what_the_model_can() -> None:
    plain = model(Replicas())
    assert isinstance(plain, LanguageModel)
    assert not isinstance(plain, Proposer | RewardModel | Chooser | Assessor | Streamer)
    abilities: frozenset[Ability] = frozenset({"generate", "propose", "assess"})
    able = remote_model(Role.DRAFT, Replicas(), Facts(abilities, vocabulary="v"))
    assert isinstance(able, Proposer)
    assert isinstance(able, Assessor)
    assert able.vocabulary == "v"
    refusing = model(Replicas(), cannot=(("check_steps", "it writes whole answers"),))
    with pytest.raises(ConfigError, match="it writes whole answers"):
        refusing.check_steps()
    refusing.check_assesses()


async def test_log_probabilities_are_asked_for_with_every_call() -> None:
    replicas = Replicas()
    draft = model(replicas, tells_logprobs=True)
    await draft.generate([request()])
    draft.tell_logprobs()
    await draft.generate([request()])
    assert [logprobs for *_, logprobs in replicas.asked] == [False, True]


class Local(Replicas):
    """A `ModelReplica` of a test model that loses every third call after it ran."""

    def __init__(self, replica: ModelReplica) -> None:
        super().__init__()
        self._replica = replica

    async def ask(
        self, key: str, ability: Ability, requests: Sequence[Any], *, logprobs: bool
    ) -> list[Any]:
        self.asked.append((key, ability, list(requests), logprobs))
        replies = await self._replica.ask(ability, requests)
        if len(self.asked) % 3 == 0:
            raise ReplicaLost("it was killed")
        return replies


async def test_a_session_over_replicas_that_die_gives_the_same_answer() -> None:
    replicas = {role: ModelReplica(role, {}) for role in Role}
    local = Models(*[replicas[role]._model for role in (Role.DRAFT, Role.TARGET, Role.REWARD)])
    problem = Problem.ask("Ben has 24 buttons. Ben loses 19. How many buttons are there?", id="0")
    far = {
        role: remote_model(role, Local(replica), Facts.of(replica._model))
        for role, replica in replicas.items()
    }
    models = Models(far[Role.DRAFT], far[Role.TARGET], far[Role.REWARD])
    try:
        expected = await Session(local).submit_job(Job(problem, RSD()), events="none").result()
        found = await Session(models).submit_job(Job(problem, RSD()), events="none").result()
    finally:
        local.close()
    assert found.text == expected.text != ""
    assert [s.source for s in found.steps] == [s.source for s in expected.steps]
    assert models.shapes() == local.shapes()
