"""Carries requests to the replicas of one model: one pool of connections, patience, fail-over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

from rsdecode.backends.openai_http.address import Address
from rsdecode.backends.openai_http.faults import Busy, Fault, Refusal, Unreachable
from rsdecode.backends.openai_http.keys import without_key
from rsdecode.backends.openai_http.limiter import Limiter
from rsdecode.backends.openai_http.replicas import Replica, choose
from rsdecode.backends.openai_http.retrying import Patience
from rsdecode.backends.openai_http.sending import receive, send
from rsdecode.backends.openai_http.settings import HttpSettings
from rsdecode.core.errors import Cancelled, RequestError

if TYPE_CHECKING:
    from httpx2 import AsyncClient

Result = TypeVar("Result")
Key = TypeVar("Key")
CONNECT_TIMEOUT_S = 10.0


class Exchange:
    """One replica during one try: sends requests, and remembers what was found out about it."""

    def __init__(self, transport: Transport, bound: _Bound, replica: Replica) -> None:
        self._transport = transport
        self._bound = bound
        self._replica = replica

    @property
    def url(self) -> str:
        """The replica's base URL."""
        return self._replica.url

    async def get(self, url: str) -> Any:
        """The JSON at a URL.

        Raises:
            Fault: try again.
            Refusal: no use.
        """
        return await send(self._bound.client, "GET", url)

    async def post(self, url: str, body: dict[str, Any]) -> Any:
        """The JSON that a URL answers to a JSON body (see `get`)."""
        return await send(self._bound.client, "POST", url, body)

    async def receive(self, url: str, body: dict[str, Any], take: Callable[[Any], None]) -> None:
        """Hand over each event of the stream that a URL answers to a JSON body (see `get`)."""
        await receive(self._bound.client, url, body, take)

    async def once(self, find: Callable[[Exchange], Awaitable[Result]], what: object) -> Result:
        """What `find` finds out, shared by all requests to this replica; failures are not kept."""
        known = self._bound.known
        key = (self.url, what)
        if key not in known:
            known[key] = asyncio.ensure_future(self._in_time(find))
            known[key].add_done_callback(lambda done: _forget_failed(known, key, done))
        found: Result = await asyncio.shield(known[key])
        return found

    async def _in_time(self, find: Callable[[Exchange], Awaitable[Result]]) -> Result:
        limit = self._transport.settings.timeout_s
        try:
            async with asyncio.timeout(limit):
                return await find(self)
        except TimeoutError:
            raise Fault(f"no reply within {limit:g} s") from None


@dataclass(slots=True, eq=False)
class _Bound:
    """What belongs to one event loop."""

    loop: asyncio.AbstractEventLoop
    client: AsyncClient
    replicas: list[Replica]
    lifetime: AsyncGenerator[None]
    known: dict[Any, asyncio.Future[Any]] = field(default_factory=dict[Any, "asyncio.Future[Any]"])


class Transport:
    """Requests to the servers of one role.

    Connections belong to the event loop that is running when they are needed; each loop gets its
    own, closed when it ends. Needs the extra `http`.

    Args:
        address: the replicas.
        settings: patience and concurrency.
        key: sent as a bearer token; struck out of all messages.
    """

    def __init__(self, address: Address, settings: HttpSettings, key: str | None = None) -> None:
        import httpx2

        self.address = address
        self.settings = settings
        self._httpx = httpx2
        self._key = key
        self._bound: _Bound | None = None
        self._closed = False
        self._reached = False
        self._tasks: set[asyncio.Task[Any]] = set()

    def impatient(self, limit_s: float) -> Transport:
        """To the same servers, with one try of so many seconds."""
        settings = replace(self.settings, attempts=1, timeout_s=limit_s, deadline_s=limit_s)
        return Transport(self.address, settings, self._key)

    async def run(self, session: str, attempt: Callable[[Exchange], Awaitable[Result]]) -> Result:
        """Serve one request: `attempt` it on the session's replica until it succeeds.

        Raises:
            RequestError: all tries failed, the deadline passed, or the server refused; other
                errors of `attempt` pass through.
            Cancelled: the model was closed.
            Refusal: of a prompt that is too long; the caller knows what that means.
        """
        if self._closed:
            raise Cancelled("the model was closed")
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            return await self._run(await self._bind(), session, attempt)
        except asyncio.CancelledError:
            if not self._closed:
                raise
            task.uncancel()
            raise Cancelled("the model was closed") from None
        finally:
            self._tasks.discard(task)

    def close(self) -> None:
        """End the requests under way; connections close with their event loop, at the latest."""
        self._closed = True
        bound, self._bound = self._bound, None
        if bound is None or bound.loop.is_closed():
            return
        for task in self._tasks:
            bound.loop.call_soon_threadsafe(task.cancel)
        bound.loop.call_soon_threadsafe(lambda: asyncio.ensure_future(_end(bound.lifetime)))

    async def _run(
        self, bound: _Bound, session: str, attempt: Callable[[Exchange], Awaitable[Result]]
    ) -> Result:
        patience = Patience(self.settings, bound.loop.time(), lambda: self._reached)
        tried: list[Replica] = []

        async def one_round() -> Result:
            tried.clear()
            while True:
                tried.append(choose(bound.replicas, session, bound.loop.time()))
                try:
                    return await self._try(bound, tried[-1], attempt, patience.deadline)
                except Fault:
                    following = choose(bound.replicas, session, bound.loop.time())
                    if following in tried or following.rests_until > bound.loop.time():
                        raise

        try:
            return await patience.retrying()(one_round)
        except Refusal as refusal:
            if refusal.is_too_long:
                raise
            raise self._failure(tried[-1], self._with_remedy(refusal)) from None
        except Fault as fault:
            raise self._failure(tried[-1], f"{fault} ({patience.why_ended})") from fault

    async def _try(
        self,
        bound: _Bound,
        replica: Replica,
        attempt: Callable[[Exchange], Awaitable[Result]],
        deadline: float,
    ) -> Result:
        """One try, within its slot and its time; the replica learns how it went."""
        started = bound.loop.time()
        limit = self.settings.timeout_s
        try:
            async with asyncio.timeout_at(deadline), replica.limiter.slot() as round:
                started = bound.loop.time()
                try:
                    async with asyncio.timeout(limit):
                        result = await attempt(Exchange(self, bound, replica))
                except Busy as busy:
                    replica.limiter.slow_down(round, busy.retry_after_s)
                    raise
                except Fault as fault:
                    dead = isinstance(fault, Unreachable)
                    self._reached = self._reached or not dead
                    replica.failed(started, bound.loop.time(), unreachable=dead)
                    raise
        except TimeoutError:
            if bound.loop.time() >= deadline:
                raise self._failure(
                    replica, f"no reply within the deadline of {self.settings.deadline_s:g} s"
                ) from None
            replica.failed(started, bound.loop.time(), unreachable=False)
            raise Fault(f"no reply within {limit:g} s") from None
        replica.served()
        self._reached = True
        return result

    def _with_remedy(self, refusal: Refusal) -> str:
        if refusal.status in (401, 403) and self._key is None:
            return f"{refusal}: no key was sent; name this server's in RSD_API_KEY"
        return str(refusal)

    def _failure(self, replica: Replica, what: str) -> RequestError:
        return RequestError(without_key(f"{replica.url}#{self.address.name}: {what}", self._key))

    async def _bind(self) -> _Bound:
        """The connections of the running event loop."""
        loop = asyncio.get_running_loop()
        if self._bound is None or self._bound.loop is not loop:
            client = self._client()
            lifetime = _lifetime(client)
            replicas = [
                Replica(url, Limiter(self.settings.concurrency), self.settings.rest_s)
                for url in self.address.urls
            ]
            self._bound = _Bound(loop, client, replicas, lifetime)
            await anext(lifetime)
        return self._bound

    def _client(self) -> AsyncClient:
        # One more than the requests of each replica, for what is found out about it.
        most = (self.settings.concurrency + 1) * len(self.address.urls)
        return self._httpx.AsyncClient(
            headers={"Authorization": f"Bearer {self._key}"} if self._key else {},
            limits=self._httpx.Limits(max_connections=most, max_keepalive_connections=most),
            timeout=self._httpx.Timeout(None, connect=CONNECT_TIMEOUT_S),
        )


async def _lifetime(client: AsyncClient) -> AsyncGenerator[None]:
    """Closes the client when its event loop shuts its generators down, or earlier."""
    try:
        yield
    finally:
        await client.aclose()


async def _end(lifetime: AsyncGenerator[None]) -> None:
    await lifetime.aclose()


def _forget_failed(
    known: dict[Key, asyncio.Future[Any]], key: Key, done: asyncio.Future[Any]
) -> None:
    if done.cancelled() or done.exception() is not None:
        known.pop(key, None)
