"""A model in replicas elsewhere, as a model here.

Whole replies travel, no streams: a request whose replica is lost is asked again, of another one,
and gets the same reply, so that whoever reads the answer sees each step once. All requests of a
problem go to the same replica for as long as it lives, where their prefix is cached.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import secrets
from collections.abc import Awaitable, Sequence
from dataclasses import replace
from typing import Any, Protocol, TypeVar

from rsdecode.core.cost import ModelShape
from rsdecode.core.errors import ConfigError, RequestError, RsdError
from rsdecode.core.requests import Failed
from rsdecode.core.types import Role
from rsdecode.distributed.replicas import Ability, Facts
from rsdecode.text.codec import Codec

logger = logging.getLogger(__name__)
PATIENCE_S = 600.0
"""How long a request is asked again and again while replicas are lost or none is there."""
PAUSES_S = (0.1, 0.3, 1.0, 2.0)
Result = TypeVar("Result")


class ReplicaLost(RsdError):
    """The replica that served a request is gone, or none is there; another one may serve it."""


class Replicas(Protocol):
    """The replicas of one model."""

    async def ask(
        self, key: str, ability: Ability, requests: Sequence[Any], *, logprobs: bool
    ) -> list[Any]:
        """Have a replica serve requests; cancelling this cancels them there.

        Args:
            key: chooses the replica; the same one for as long as it lives.
            ability: see `ModelReplica.ask`.
            requests: see `ModelReplica.ask`.
            logprobs: see `ModelReplica.ask`.

        Raises:
            ReplicaLost: it is gone.
            RequestError: it failed in another way.
        """
        ...

    async def end(self, key: str, session: str) -> None:
        """Tell the replica that a session is over."""
        ...


def remote_model(role: Role, replicas: Replicas, facts: Facts) -> Any:
    """A model that has exactly the abilities of that in the replicas."""
    parts: list[type[Any]] = [_PARTS[name] for name in sorted(facts.abilities)]
    parts += [_HasVocabulary] if facts.vocabulary is not None else []
    parts += [_HasCodec] if facts.codec is not None else []
    parts += [_TellsLogprobs] if facts.tells_logprobs else []
    kind = type("RemoteModel", (*parts, _Remote), {})
    return kind(role, replicas, facts)


class _Remote:
    """What all remote models share.

    Args:
        role: for messages.
        replicas: who answers.
        facts: of the model.
    """

    def __init__(self, role: Role, replicas: Replicas, facts: Facts) -> None:
        self._role = role
        self._replicas = replicas
        self._facts = facts
        self._cannot = dict(facts.cannot)
        self._logprobs = False
        self._own = secrets.token_hex(4)
        self._count = 0
        self._names: dict[str, str] = {}
        self._telling: set[asyncio.Task[None]] = set()

    @property
    def shape(self) -> ModelShape | None:
        """See `protocols.Sized`."""
        return self._facts.shape

    @property
    def reads_draft(self) -> bool:
        """See `protocols.ReadsDraft`."""
        return self._facts.reads_draft

    def check_steps(self) -> None:
        """See `protocols.MayNotContinue`."""
        self._check("check_steps")

    def check_assesses(self) -> None:
        """See `protocols.MayNotAssess`."""
        self._check("check_assesses")

    def check_logprobs(self) -> None:
        """See `protocols.MayNotAssess`."""
        self._check("check_logprobs")

    def end(self, session: str) -> None:
        """See `protocols.Caching`."""
        name = self._names.pop(session, None)
        if name is not None:
            task = asyncio.ensure_future(_apart(self._replicas.end(name, name)))
            self._telling.add(task)
            task.add_done_callback(self._told)

    def clear(self) -> None:
        """See `protocols.Caching`: others use the caches too, so nothing is forgotten."""

    async def _ask(self, ability: Ability, requests: Sequence[Any]) -> list[Any]:
        """Ask until there is a reply; requests of one call belong to one problem."""
        if not requests:
            return []
        key, named = self._named(requests)
        pauses = 0.0
        for attempt in range(10_000):
            asking = self._replicas.ask(key, ability, named, logprobs=self._logprobs)
            try:
                return await _apart(asking)
            except ReplicaLost as lost:
                if pauses >= PATIENCE_S:
                    message = f"no replica of the {self._role} has answered for {pauses:.0f} s"
                    return [Failed(RequestError(f"{message} ({lost}): see to the cluster"))] * len(
                        requests
                    )
                pause = PAUSES_S[min(attempt, len(PAUSES_S) - 1)]
                logger.warning("a replica of the %s is lost (%s): asked again", self._role, lost)
                await asyncio.sleep(pause)
                pauses += pause
        raise AssertionError("patience ends before")

    def _named(self, requests: Sequence[Any]) -> tuple[str, list[Any]]:
        """Requests with names of sessions that nobody else uses, and the problem's among them."""
        base = "/".join(requests[0].session.split("/")[:2])
        if base not in self._names:
            self._count += 1
            self._names[base] = f"{self._own}-{self._count}"
        name = self._names[base]
        named = [replace(each, session=name + each.session[len(base) :]) for each in requests]
        return name, named

    def _told(self, task: asyncio.Task[None]) -> None:
        self._telling.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.debug("a replica was not told of the end of a session: %s", error)

    def _check(self, name: str) -> None:
        if (why := self._cannot.get(name)) is not None:
            raise ConfigError(why)


class _HasVocabulary:
    _facts: Facts

    @property
    def vocabulary(self) -> str:
        """See `protocols.Proposer`."""
        assert self._facts.vocabulary is not None
        return self._facts.vocabulary


class _HasCodec:
    _facts: Facts

    @property
    def codec(self) -> Codec:
        """The model's tokenizer, a copy."""
        assert self._facts.codec is not None
        return self._facts.codec


class _TellsLogprobs:
    _logprobs: bool

    def tell_logprobs(self) -> None:
        """See `protocols.TellsLogprobs`."""
        self._logprobs = True


def _asks(ability: Ability) -> type[Any]:
    """A class with the method of an ability."""

    async def ask(self: _Remote, requests: Sequence[Any]) -> list[Any]:
        return await self._ask(ability, requests)  # pyright: ignore[reportPrivateUsage]

    ask.__doc__ = f"See `protocols`: `{ability}` of the model in the replicas."
    return type(f"_Asks{ability.capitalize()}", (), {ability: ask})


_NAMES: tuple[Ability, ...] = (
    "generate",
    "score",
    "choose",
    "measure",
    "propose",
    "verify",
    "assess",
)
_PARTS = {name: _asks(name) for name in _NAMES}


def _apart(work: Awaitable[Result]) -> asyncio.Task[Result]:
    """Run in a context of its own.

    Ray Serve knows by the context which client's request a call belongs to, and cancels the calls
    of one who leaves. A problem that begins when another one ends has the other's context.
    """
    return asyncio.get_running_loop().create_task(_awaited(work), context=contextvars.Context())


async def _awaited(work: Awaitable[Result]) -> Result:
    return await work
