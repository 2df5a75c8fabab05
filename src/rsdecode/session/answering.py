"""Answers the requests of one problem: each role's as one batch, all at once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import replace
from functools import partial
from typing import Self, cast

from rsdecode.core.errors import RequestError, RsdError
from rsdecode.core.protocols import Begins, Models, Streamer
from rsdecode.core.requests import (
    Announce,
    Assess,
    Assessed,
    Begin,
    Begun,
    Drop,
    Failed,
    Generate,
    Generated,
    Propose,
    Proposed,
    Reply,
    Request,
    Score,
    Scored,
    Start,
    Verified,
    Verify,
)
from rsdecode.core.types import Ledger, Role
from rsdecode.session import events
from rsdecode.session.events import Delta, Event
from rsdecode.session.lookahead import Lookahead

logger = logging.getLogger(__name__)

Replies = Sequence[Reply | Failed]
OnEvent = Callable[[Event], None]
_ROLES: dict[type[Request], Role] = {
    Propose: Role.DRAFT,
    Verify: Role.TARGET,
    Score: Role.REWARD,
    Assess: Role.TARGET,
}
"""Who serves a request that only one of the models can serve."""


class Answering:
    """Serves what one problem's method yields (use as an async context manager).

    An exception of a model, which is a bug or a device's fault, becomes a `Failed` for each request
    of its batch. On leaving, what was started ahead and not asked for is dropped.

    Args:
        models: what answers.
        on_event: told of texts and scores as they come; None where nobody wants to know.
        deltas: whose text `on_event` is told of while it is written, by models that can.
        told: what everything that is written says of its tokens (see `Generate.told`).
    """

    def __init__(
        self,
        models: Models,
        on_event: OnEvent | None = None,
        *,
        deltas: Collection[Role] = (),
        told: int | None = None,
    ) -> None:
        self._models = models
        self._told = told
        self._on_event = on_event
        self._deltas = () if on_event is None else deltas
        self._ahead = Lookahead(lambda request: self._serve(request.role, [request]))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._ahead.aclose()

    @property
    def spent_ahead(self) -> Ledger:
        """What was started ahead and dropped; complete after leaving."""
        return self._ahead.spent

    async def answer(self, requests: Sequence[Request]) -> list[Reply | Failed]:
        """Serve requests; replies come in their order.

        A request that was started ahead is waited for, not served again.
        """
        replies: list[Reply | Failed] = [None] * len(requests)
        waiting: list[Awaitable[Replies]] = []
        places: list[Sequence[int]] = []
        batches: dict[tuple[Role, type[Request]], list[int]] = {}
        for place, request in enumerate(requests):
            match request:
                case Announce():
                    pass
                case Start():
                    self._ahead.start(request.request)
                case Drop():
                    self._ahead.drop(request.request)
                case Generate() if (started := self._ahead.take(request)) is not None:
                    waiting.append(started)
                    places.append((place,))
                case _:
                    kind = type(request)
                    role = _ROLES.get(kind) or cast("Generate | Begin", request).role
                    batches.setdefault((role, kind), []).append(place)
        for (role, _), its_places in batches.items():
            waiting.append(self._serve(role, [requests[i] for i in its_places]))
            places.append(its_places)
        for its_places, served in zip(places, await _all_of(waiting), strict=True):
            for place, reply in zip(its_places, served, strict=True):
                replies[place] = reply
        if self._on_event is not None:
            self._announce(requests, replies, self._on_event)
        return replies

    async def _serve(self, role: Role, batch: Sequence[Request]) -> Replies:
        """The replies of one model; raises nothing but the cancellation of this task."""
        try:
            served = await self._call(role, batch)
            if len(served) != len(batch):
                raise ValueError(f"{len(served)} replies to {len(batch)} requests")
        except RsdError as error:
            return [Failed(error)] * len(batch)
        except asyncio.CancelledError as error:
            if _is_cancelled():
                raise
            return _broken(role, batch, error)  # the model's own affair: nobody cancelled us
        except Exception as error:  # noqa: BLE001 - a bug or a device's fault: isolate it
            return _broken(role, batch, error)
        return served

    async def _call(
        self, role: Role, batch: Sequence[Request]
    ) -> Sequence[Generated | Scored | Proposed | Verified | Assessed | Begun | Failed]:
        models = self._models
        match batch[0]:
            case Begin():
                model = models.language_model(role)
                if not isinstance(model, Begins):
                    return [Begun()] * len(batch)
                return await model.begin(cast(Sequence[Begin], batch))
            case Propose():
                return await models.proposer().propose(cast(Sequence[Propose], batch))
            case Verify():
                return await models.verifier().verify(cast(Sequence[Verify], batch))
            case Score():
                return await models.reward_model().score(cast(Sequence[Score], batch))
            case Assess():
                return await models.assessor().assess(cast(Sequence[Assess], batch))
            case _:
                writes = cast(Sequence[Generate], batch)
                model = models.language_model(role)
                if all(request.is_guess for request in writes):
                    return await model.generate(writes)
                if self._told is not None:
                    writes = [replace(request, told=self._told) for request in writes]
                if role in self._deltas and isinstance(model, Streamer):
                    return await model.stream(writes, partial(self._show, writes))
                return await model.generate(writes)

    def _show(self, batch: Sequence[Generate], place: int, text: str) -> None:
        request = batch[place]
        if text and self._on_event is not None:
            self._on_event(Delta(request.role, len(request.context.answer), place, text))

    @staticmethod
    def _announce(requests: Sequence[Request], replies: Replies, on_event: OnEvent) -> None:
        candidates = {Generate: 0, Score: 0}
        for request, reply in zip(requests, replies, strict=True):
            match request, reply:
                case Generate(role=Role.DRAFT, is_guess=False), Generated():
                    on_event(
                        events.Proposed(
                            len(request.context.answer),
                            candidates[Generate],
                            reply.segment.text,
                            reply.finish_reason,
                            reply.token_count,
                        )
                    )
                    candidates[Generate] += 1
                case Score(), Scored():
                    known = len(request.context.answer)
                    first = known if request.first is None else request.first
                    on_event(events.Scored(first, candidates[Score], reply.rewards))
                    candidates[Score] += 1
                case _:
                    pass


def first_failure(replies: Replies) -> RsdError | None:
    """The error of the first request that failed."""
    return next((reply.error for reply in replies if isinstance(reply, Failed)), None)


async def _all_of(waiting: Sequence[Awaitable[Replies]]) -> list[Replies]:
    """Results of all, in order. None, or one alone, which is usual, needs no task of its own."""
    if len(waiting) > 1:
        return list(await asyncio.gather(*waiting))
    return [await served for served in waiting]


def _is_cancelled() -> bool:
    """Whether somebody has asked the running task to end."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


def _broken(role: Role, batch: Sequence[Request], error: BaseException) -> Replies:
    logger.error("the %s model failed", role, exc_info=error)
    failure = RequestError(f"the {role} model failed: {type(error).__name__}: {error}")
    return [Failed(failure)] * len(batch)
