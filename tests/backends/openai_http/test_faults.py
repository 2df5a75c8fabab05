"""Against servers that refuse, reset, hang, overflow, break down and come back."""

from __future__ import annotations

import asyncio
import os
import random
import re
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from rsdecode.backends.openai_http import (
    Address,
    HttpSettings,
    ServedModel,
    Transport,
    retrying,
)
from rsdecode.backends.scripted import ScriptedModel, ScriptedReward
from rsdecode.core.errors import Cancelled
from rsdecode.core.protocols import Models
from rsdecode.core.requests import Failed, Generate, Generated
from rsdecode.core.segment import PARAGRAPH
from rsdecode.core.types import Context, FinishReason, Message, Problem, Role, Trajectory
from rsdecode.methods import RSD
from rsdecode.rewards.judge import JudgeReward
from rsdecode.session.job import Job
from rsdecode.session.session import Session
from tests.backends.openai_http.local_server import Fault, LocalServer, Reply
from tests.backends.openai_http.scripted_server import NAME, solution, step_of, vllm

FAST = HttpSettings(
    timeout_s=1.5, deadline_s=300.0, attempts=25, backoff_s=0.002, rest_s=0.02, concurrency=32
)
ONCE = HttpSettings(timeout_s=0.2, deadline_s=5.0, attempts=3, backoff_s=0.002, rest_s=0.02)
KINDS: tuple[Fault, ...] = ("close", "reset", "busy", "broken", "truncated", "lost")


def served(*servers: LocalServer, settings: HttpSettings = ONCE, **options: Any) -> ServedModel:
    address = Address(tuple(server.url for server in servers), options.pop("name", NAME))
    return ServedModel(Transport(address, settings, options.pop("key", None)))


def ask(question: str = "q", session: str = "s", max_tokens: int = 50) -> Generate:
    context = Context((Message("user", question),))
    return Generate(Role.DRAFT, context, max_tokens, PARAGRAPH, session=session)


def first_step(question: str = "q") -> str:
    return solution(question, "draft").partition("\n\n")[0] + "\n\n"


def in_turn(*faults: Fault | None) -> Callable[[str], Fault | None]:
    """The faults, one request after the other, then none; the first of each path is spared."""
    left: Iterator[Fault | None] = iter(faults)
    met: set[str] = set()

    def fault(path: str) -> Fault | None:
        if path not in met:  # /models, and the trial of the chat endpoint
            met.add(path)
            return None
        return next(left, None)

    return fault


@pytest.mark.parametrize("fault", [*KINDS, "hang"])
async def test_a_fault_is_tried_again(fault: Fault) -> None:
    async with LocalServer(vllm("draft"), in_turn(fault)) as server:
        [reply] = await served(server).generate([ask()])
    assert isinstance(reply, Generated)
    assert reply.segment.text == first_step()
    assert reply.finish_reason is FinishReason.STOP
    assert server.faults == 1
    assert reply.usage.calls == 1


@pytest.mark.parametrize(
    ("fault", "said"),
    [("broken", "HTTP 500: out of order"), ("lost", "HTTP 503"), ("truncated", "not JSON"),
     ("reset", "RemoteProtocolError"), ("hang", "no reply within 0.2 s")],
)  # fmt: skip
async def test_after_its_tries_a_request_fails_and_says_why(fault: Fault, said: str) -> None:
    async with LocalServer(vllm("draft"), in_turn(*[fault] * 9)) as server:
        [reply] = await served(server).generate([ask()])
    assert isinstance(reply, Failed)
    assert said in str(reply.error)
    assert "3 tries" in str(reply.error)
    assert f"{server.url}#{NAME}" in str(reply.error)


async def test_a_server_that_refuses_connections() -> None:
    server = LocalServer(vllm("draft"))
    await server.start()
    await server.stop()
    [reply] = await served(server).generate([ask()])
    assert isinstance(reply, Failed)
    assert "ConnectError" in str(reply.error)
    assert "(3 tries)" in str(reply.error)


async def test_servers_that_have_never_answered_are_soon_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(retrying, "FIRST_CONTACT_S", 0.02)
    settings = HttpSettings(attempts=6, backoff_s=0.02)  # six tries would take 0.3 s at least
    server = LocalServer(vllm("draft"))
    await server.start()
    model = served(server, settings=settings)
    await server.stop()
    [reply] = await model.generate([ask()])
    assert isinstance(reply, Failed)
    assert re.search(r"is the server running there\? \((1 try|2 tries)\)", str(reply.error))
    await server.start()
    assert isinstance((await model.generate([ask()]))[0], Generated)
    await server.stop()
    [reply] = await model.generate([ask()])
    assert "(6 tries)" in str(getattr(reply, "error", reply))


@pytest.mark.parametrize("count", [1, 3])
async def test_replicas_that_are_all_down_are_waited_for_as_long_as_one(count: int) -> None:
    """They come back while the first of the pauses lasts in which nobody is asked."""
    patient = HttpSettings(attempts=6, backoff_s=0.1, rest_s=0.2, timeout_s=3.0)
    servers = [LocalServer(vllm("draft")) for _ in range(count)]
    for server in servers:
        await server.start()
    model = served(*servers, settings=patient)
    await model.generate([ask()])  # from now on they are known to be there
    for server in servers:
        await server.stop()
    replies = asyncio.create_task(model.generate([ask(session=str(i)) for i in range(8)]))
    await asyncio.sleep(1.0)
    for server in servers:
        await server.start()
    found = await asyncio.wait_for(replies, 20)
    for server in servers:
        await server.stop()
    assert all(isinstance(reply, Generated) for reply in found), found


async def test_replicas_that_stay_down_are_tried_as_often_as_one_would_be() -> None:
    asked: list[float] = []

    async def broken(path: str, body: dict[str, Any]) -> Reply:
        asked.append(asyncio.get_running_loop().time())
        return Reply(500, "no")

    settings = HttpSettings(attempts=4, backoff_s=0.05, rest_s=5.0, timeout_s=3.0)
    async with LocalServer(broken) as first, LocalServer(broken) as second:
        [reply] = await served(first, second, settings=settings).generate([ask()])
    assert isinstance(reply, Failed)
    assert "(4 tries)" in str(reply.error)
    assert 4 <= len(asked) <= 8
    assert asked[-1] - asked[0] >= 0.05 * (1 + 2 + 4) / 2 * 0.9


async def test_a_refusal_without_a_key_says_where_keys_are_named() -> None:
    async def refuse(path: str, body: dict[str, Any]) -> Reply:
        return Reply(401, {"error": {"message": "Unauthorized"}})

    async with LocalServer(refuse) as server:
        [reply] = await served(server).generate([ask()])
    assert isinstance(reply, Failed)
    assert "no key was sent; name this server's in RSD_API_KEY" in str(reply.error)


async def test_a_wrong_name_is_not_tried_again_and_the_right_ones_are_named() -> None:
    async with LocalServer(vllm("draft")) as server:
        [reply] = await served(server, name="other").generate([ask()])
    assert isinstance(reply, Failed)
    assert "no model 'other' here, only scripted" in str(reply.error)
    assert [path for path, _ in server.requests] == ["/v1/models"]


async def test_a_refusal_says_what_the_server_said_but_never_the_key() -> None:
    async def refuse(path: str, body: dict[str, Any]) -> Reply:
        message = "Incorrect API key provided: sk-secret. " + "Ask again. " * 100
        return Reply(401, {"error": {"message": message}})

    async with LocalServer(refuse) as server:
        [reply] = await served(server, key="sk-secret").generate([ask()])
    assert isinstance(reply, Failed)
    assert "HTTP 401: Incorrect API key provided: [key]. Ask" in str(reply.error)
    assert len(str(reply.error)) < 600
    assert len(server.requests) == 1
    assert server.headers[0]["authorization"] == "Bearer sk-secret"


async def test_being_asked_to_slow_down_is_no_failed_try_and_makes_us_slower() -> None:
    async with LocalServer(vllm("draft"), in_turn(*["busy"] * 6)) as server:
        model = served(server)
        [reply] = await model.generate([ask()])
        assert isinstance(reply, Generated)
        assert server.faults == 6
        assert len(server.requests) == 10  # three of them to find out what it can do


async def test_a_deadline_ends_a_request_that_is_put_off_for_ever() -> None:
    async def later(path: str, body: dict[str, Any]) -> Reply:
        return Reply(429, "not now", {"retry-after": "3600"})

    async with LocalServer(later) as server:
        [reply] = await asyncio.wait_for(served(server).generate([ask()]), 5)
    assert isinstance(reply, Failed)
    assert "not now (5 s deadline)" in str(reply.error)


async def test_a_cancelled_request_gives_its_slot_back() -> None:
    settings = HttpSettings(timeout_s=30.0, concurrency=2)
    async with LocalServer(vllm("draft"), in_turn("hang", "hang")) as server:
        model = served(server, settings=settings)
        hanging = [asyncio.create_task(model.generate([ask(session=str(i))])) for i in range(4)]
        while server.faults < 2:
            await asyncio.sleep(0.001)
        for task in hanging:
            task.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)
        replies = await asyncio.wait_for(model.generate([ask(session=str(i)) for i in range(8)]), 5)
        assert all(isinstance(reply, Generated) for reply in replies)
        assert server.busiest <= 2


async def test_closing_answers_what_is_under_way() -> None:
    async with LocalServer(vllm("draft"), in_turn("hang", "hang")) as server:
        model = served(server, settings=HttpSettings())
        calls = asyncio.create_task(model.generate([ask(), ask("r")]))
        while server.faults < 2:
            await asyncio.sleep(0.001)
        model.close()
        model.close()
        replies = await asyncio.wait_for(calls, 5)
        assert [type(r.error) for r in replies if isinstance(r, Failed)] == [Cancelled] * 2
        [late] = await model.generate([ask()])
        assert isinstance(late, Failed)


def test_every_event_loop_gets_its_own_connections() -> None:
    server = LocalServer(vllm("draft"))

    async def solve() -> Generated | Failed:
        async with server:
            model = models.setdefault("one", served(server))
            [reply] = await model.generate([ask()])
            return reply

    models: dict[str, ServedModel] = {}
    for _ in range(2):
        assert isinstance(asyncio.run(solve()), Generated)
    models["one"].close()
    assert server.open == 0


async def test_sessions_stay_with_a_replica_and_leave_one_that_died() -> None:
    def sessions(server: LocalServer) -> set[str]:
        asked = [b["messages"][0]["content"] for path, b in server.requests if "messages" in b]
        return {question for question in asked if question != "1 + 1 ="}

    names = [f"q{i}" for i in range(40)]
    async with LocalServer(vllm("draft")) as left, LocalServer(vllm("draft")) as right:
        model = served(left, right, settings=FAST)

        async def round() -> None:
            replies = await model.generate([ask(name, name) for name in names])
            assert all(isinstance(reply, Generated) for reply in replies)

        await round()
        on_left, on_right = sessions(left), sessions(right)
        assert on_left | on_right == set(names)
        assert not on_left & on_right
        assert min(len(on_left), len(on_right)) > 8
        await round()
        assert (sessions(left), sessions(right)) == (on_left, on_right)
        await left.stop()
        await round()
        assert sessions(right) == set(names)
        await left.start()
        bound = model._transport._bound
        assert bound is not None
        while any(replica.rests_until > bound.loop.time() for replica in bound.replicas):
            await asyncio.sleep(0.01)
        left.requests.clear()
        await round()
        assert sessions(left) == on_left


def graded(problem_text: str) -> float:
    return random.Random(problem_text).random()


async def all_of(models: Models, count: int) -> dict[str, Trajectory]:
    method = RSD()
    session = Session(models, concurrency=64)
    jobs = [Job(Problem.ask(f"Q{i}", id=str(i)), method) for i in range(count)]
    ended = [trajectory async for trajectory in session.run(jobs)]
    assert len(ended) == count
    found = {trajectory.problem.id: trajectory for trajectory in ended}
    assert len(found) == count, "a problem ended twice"
    return found


async def test_many_problems_with_30_percent_faults() -> None:
    """Every problem ends with the right trajectory or an error; connections are bounded.

    90 problems; 500, which wait for a minute and a half, where RSD_SLOW is set.
    """
    count = 500 if "RSD_SLOW" in os.environ else 90
    chance = random.Random(0)

    def fault(path: str) -> Fault | None:
        if chance.random() >= 0.3:
            return None
        return chance.choice([*KINDS, *KINDS, "hang"])

    reward = ScriptedReward(lambda score: graded(score.steps[0].text))
    expected = await all_of(Models(ScriptedModel(step_of), ScriptedModel(step_of), reward), count)
    async with AsyncExitStack() as stack:
        first, second, target = [
            await stack.enter_async_context(LocalServer(vllm(role), fault))
            for role in ("draft", "draft", "target")
        ]
        models = Models(served(first, second, settings=FAST), served(target, settings=FAST), reward)

        async def die_and_come_back() -> None:
            await asyncio.sleep(0.5)
            await second.stop()
            await asyncio.sleep(0.3)
            await second.start()

        death = asyncio.create_task(die_and_come_back())
        found = await asyncio.wait_for(all_of(models, count), 300)
        await death
        servers = (first, second, target)
        asked = sum(len(server.requests) for server in servers)
        assert 0.2 < sum(server.faults for server in servers) / asked < 0.4
        for server in servers:
            assert server.busiest <= FAST.concurrency
            assert server.peak <= FAST.concurrency + 1
    failed = [t for t in found.values() if t.stop_reason is FinishReason.ERROR]
    assert all(t.error for t in failed)
    assert len(failed) <= 5
    for id, trajectory in found.items():
        if trajectory.stop_reason is not FinishReason.ERROR:
            assert trajectory.finished
            assert trajectory.text == expected[id].text
            assert [s.source for s in trajectory.steps] == [s.source for s in expected[id].steps]
    assert {step.source for t in found.values() for step in t.steps} == {Role.DRAFT, Role.TARGET}


async def test_a_served_judge_and_faults_on_the_way() -> None:
    chance = random.Random(1)
    faults = lambda path: chance.choice(KINDS) if chance.random() < 0.3 else None  # noqa: E731
    async with LocalServer(vllm("draft"), faults) as bad, LocalServer(vllm("draft")) as good:
        trajectories = [
            await all_of(
                Models(
                    served(server, settings=FAST),
                    ScriptedModel(step_of),
                    JudgeReward(served(server, settings=FAST)),
                ),
                20,
            )
            for server in (bad, good)
        ]
    first, second = trajectories
    rewards = {id: [step.reward for step in t.steps] for id, t in first.items()}
    assert rewards == {id: [step.reward for step in t.steps] for id, t in second.items()}
    assert len({r for listed in rewards.values() for r in listed}) > 20
    assert all(t.finished and t.ledger.reward.decoded_tokens for t in first.values())
