"""Addresses, keys, limits, replicas and the reading of errors, each on its own."""

from __future__ import annotations

import asyncio
import email.utils
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tenacity import AsyncRetrying, RetryCallState

from rsdecode.backends.openai_http import Address, HttpSettings, api_key, parse_address
from rsdecode.backends.openai_http.faults import (
    Busy,
    Fault,
    Refusal,
    check_status,
    retry_after,
    said_by_server,
)
from rsdecode.backends.openai_http.limiter import Limiter
from rsdecode.backends.openai_http.replicas import Replica, choose
from rsdecode.backends.openai_http.retrying import pauses
from rsdecode.core.errors import ConfigError
from rsdecode.core.types import Role


def test_addresses() -> None:
    assert parse_address("http://h:1/v1#m") == Address(("http://h:1/v1",), "m")
    two = parse_address("http://a/v1/, https://b:9/v1#org/m#2")
    assert two == Address(("http://a/v1", "https://b:9/v1"), "org/m#2")
    assert str(two) == "http://a/v1,https://b:9/v1#org/m#2"


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("http://h/v1", "does not name the served model"),
        ("http://u:secret@h/v1#m", "URL of h holds a password"),
        ("http://a/v1,http://a/v1/#m", "names a replica twice"),
        ("http://a/v1,b/v1#m", "'b/v1' is not the base URL"),
        ("http://a:port/v1#m", "is not a URL"),
        ("http://a/v1,#m", "is not the base URL"),
    ],
)
def test_addresses_that_are_none(spec: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as error:
        parse_address(spec)
    assert "secret" not in str(error.value)


HTTPS = Address(("https://somewhere.org/v1",), "m")
HERE = Address(("http://127.0.0.1:8000/v1", "http://[::1]:8000/v1", "http://localhost/v1"), "m")
THERE = Address(("http://gpu-box:8000/v1",), "m")
OPENAI = Address(("https://api.openai.com/v1",), "m")


def test_the_key_of_a_role_wins() -> None:
    known = {"OPENAI_API_KEY": "c", "RSD_API_KEY": "b", "RSD_DRAFT_API_KEY": " a "}
    for address in (HTTPS, HERE, OPENAI):
        assert [api_key(role, address, known) for role in Role] == ["a", "b", "b"]
    assert api_key(Role.DRAFT, OPENAI, {"OPENAI_API_KEY": "c", "RSD_API_KEY": ""}) is None
    assert api_key(Role.REWARD, HTTPS, {}) is None


def test_openais_key_goes_to_openai_alone() -> None:
    known = {"OPENAI_API_KEY": "c"}
    assert api_key(Role.DRAFT, OPENAI, known) == "c"
    plain = Address(("http://api.openai.com/v1",), "m")
    like = Address(("https://api.openai.com.evil.org/v1",), "m")
    both = Address((*OPENAI.urls, *HTTPS.urls), "m")
    for other in (HTTPS, HERE, THERE, plain, like, both):
        assert api_key(Role.DRAFT, other, known) is None


def test_or_to_the_host_that_is_named_in_its_place() -> None:
    known = {"OPENAI_API_KEY": "c", "OPENAI_BASE_URL": "https://somewhere.org/openai/v1"}
    assert api_key(Role.DRAFT, HTTPS, known) == "c"
    assert api_key(Role.DRAFT, OPENAI, known) is None
    known = {"OPENAI_API_KEY": "c", "OPENAI_BASE_URL": "http://gpu-box:8000/v1"}
    assert api_key(Role.DRAFT, THERE, known) is None
    known = {"OPENAI_API_KEY": "c", "OPENAI_BASE_URL": "http://127.0.0.1:8000/v1"}
    assert api_key(Role.DRAFT, Address(("http://127.0.0.1:8000/v1",), "m"), known) == "c"
    assert api_key(Role.DRAFT, Address(("http://127.0.0.1:8001/v1",), "m"), known) is None


def test_a_key_in_the_open_is_refused_with_the_ways_out() -> None:
    known = {"RSD_API_KEY": "secret"}
    with pytest.raises(ConfigError, match=r"RSD_API_KEY would be sent to http://gpu-box") as error:
        api_key(Role.DRAFT, THERE, known)
    assert "RSD_DRAFT_API_KEY to nothing" in str(error.value)
    assert "secret" not in str(error.value)
    assert api_key(Role.DRAFT, THERE, known | {"RSD_DRAFT_API_KEY": ""}) is None
    assert api_key(Role.DRAFT, THERE, known | {"RSD_ALLOW_HTTP_KEY": "1"}) == "secret"


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="timeout_s 0"):
        HttpSettings(timeout_s=0)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"error": {"message": "no\\nway"}}', "no way"),
        (b'{"error": "no way"}', "no way"),
        (b'{"detail": [{"loc": ["body"]}]}', '[{"loc": ["body"]}]'),
        (b"<html>gone</html>", "<html>gone</html>"),
        (b"", "no message"),
        (b"[" * 5000, "[" * 400 + " ..."),
    ],
)
def test_what_a_server_said(body: bytes, said: str) -> None:
    assert said_by_server(body) == said


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, Refusal), (401, Refusal), (404, Refusal), (307, Refusal), (408, Fault), (409, Fault),
     (429, Busy), (503, Busy), (500, Fault), (502, Fault)],
)  # fmt: skip
def test_what_a_status_means(status: int, kind: type[Exception]) -> None:
    with pytest.raises(kind, match=f"HTTP {status}"):
        check_status(status, {}, b"{}")


def test_retry_after() -> None:
    assert retry_after("1.5") == 1.5
    assert retry_after(email.utils.formatdate(time.time() + 30)) == pytest.approx(30, abs=2)
    assert retry_after("-3") == 0.0
    assert [retry_after(odd) for odd in (None, "soon", "nan", "inf")] == [None] * 4


@given(st.integers(1, 10_000), st.floats(0.001, 100.0))
def test_pauses_grow_and_are_bounded(rounds: int, base: float) -> None:
    state = RetryCallState(AsyncRetrying(), None, (), {})
    state.attempt_number = rounds
    longest = min(60.0, base * 2.0 ** min(rounds - 1, 100))
    assert longest / 2.0 * 0.999 <= pauses(base)(state) <= longest * 1.001


async def test_one_overload_halves_the_limit_once_and_success_restores_it() -> None:
    limiter = Limiter(16)
    async with limiter.slot() as first, limiter.slot() as second:
        limiter.slow_down(first, None)
        limiter.slow_down(second, None)
        assert limiter.limit == 8
    async with limiter.slot() as later:
        limiter.slow_down(later, None)
        assert limiter.limit == 4
    for _ in range(200):
        limiter.speed_up()
    assert limiter.limit == 16


async def test_the_limit_never_falls_below_one() -> None:
    limiter = Limiter(3)
    for _ in range(9):
        async with limiter.slot() as round:
            limiter.slow_down(round, None)
    assert limiter.limit == 1


async def test_a_pause_holds_all_requests_back() -> None:
    limiter = Limiter(4)
    loop = asyncio.get_running_loop()
    async with limiter.slot() as round:
        limiter.slow_down(round, 0.05)
    started = loop.time()
    async with limiter.slot():
        assert loop.time() - started >= 0.04


@given(st.lists(st.sampled_from(["enter", "leave", "cancel", "busy"]), max_size=60))
def test_slots_are_never_lost(actions: list[str]) -> None:
    async def run() -> None:
        limiter = Limiter(3)
        tasks: list[asyncio.Task[None]] = []
        leave: list[asyncio.Event] = []

        async def hold(event: asyncio.Event) -> None:
            async with limiter.slot() as round:
                await event.wait()
                if len(leave) % 2:
                    limiter.slow_down(round, None)

        for action in actions:
            if action == "enter":
                leave.append(asyncio.Event())
                tasks.append(asyncio.create_task(hold(leave[-1])))
            elif tasks and action == "cancel":
                tasks[len(actions) % len(tasks)].cancel()
            elif leave and action == "leave":
                leave[len(actions) % len(leave)].set()
            if action != "busy":
                await asyncio.sleep(0)
            assert limiter.active <= 3
        for event in leave:
            event.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert limiter.active == 0
        async with asyncio.timeout(1), limiter.slot():
            pass

    asyncio.run(run())


def replicas(count: int) -> list[Replica]:
    return [Replica(f"http://{i}/v1", Limiter(1), rest_s=1.0) for i in range(count)]


@given(st.integers(2, 6), st.integers(0, 5))
def test_only_the_sessions_of_a_dead_replica_move(count: int, dead: int) -> None:
    servers = replicas(count)
    sessions = [f"{i}/0" for i in range(50)]
    before = {session: choose(servers, session, 0.0) for session in sessions}
    gone = servers[dead % count]
    gone.failed(0.0, 1.0, unreachable=True)
    after = {session: choose(servers, session, 1.5) for session in sessions}
    for session in sessions:
        assert after[session] is not gone
        assert after[session] is before[session] or before[session] is gone
    assert {s: choose(servers, s, 99.0) for s in sessions} == before


def test_failures_of_the_same_moment_are_one_and_success_forgets_them() -> None:
    [server] = replicas(1)
    for _ in range(50):
        server.failed(0.0, 1.0, unreachable=False)
    assert (server.failures, server.rests_until) == (1, 0.0)
    for now in (2.0, 3.0):
        server.failed(now - 0.5, now, unreachable=False)
    assert server.rests_until > 3.0
    server.served()
    assert (server.failures, server.rests_until) == (0, 0.0)
