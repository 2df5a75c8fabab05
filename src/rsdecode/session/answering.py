"""Answer the requests of one method: what the sync and the async driver have in common."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Sequence
from typing import cast

from rsdecode.core.errors import RequestError, RsdError
from rsdecode.core.protocols import Models
from rsdecode.core.requests import (
    Decided,
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
from rsdecode.core.types import Role
from rsdecode.session.lookahead import Ahead

logger = logging.getLogger(__name__)

Replies = Sequence[Reply | Failed]
_ROLES: dict[type[Request], Role] = {
    Propose: Role.DRAFT,
    Verify: Role.TARGET,
    Score: Role.REWARD,
}
"""Who serves a request that only one of the models can serve."""


def lookahead_for(models: Models) -> Ahead:
    """What one problem starts ahead on these models: nothing yet."""
    return Ahead(lambda request: _serve(request.role, [request], models))


async def answer(requests: Sequence[Request], models: Models, ahead: Ahead) -> list[Reply | Failed]:
    """Serve the requests that a method yielded, each role's of one kind as one batch, all at once.

    Replies come in the order of the requests. An exception of a model, which is a bug or a
    device's fault, becomes a `Failed` for each request of its batch. A request that was started
    ahead is waited for, not served again.
    """
    replies: list[Reply | Failed] = [None] * len(requests)
    waiting: list[Awaitable[Replies]] = []
    places: list[Sequence[int]] = []
    batches: dict[tuple[Role, type[Request]], list[int]] = {}
    for place, request in enumerate(requests):
        match request:
            case Decided():
                pass
            case Start():
                ahead.start(request.request)
            case Drop():
                ahead.drop(request.request)
            case Generate():
                if started := ahead.take(request):
                    waiting.append(started)
                    places.append((place,))
                else:
                    batches.setdefault((request.role, Generate), []).append(place)
            case Propose() | Verify() | Score():
                kind = type(request)
                batches.setdefault((_ROLES[kind], kind), []).append(place)
    for (role, _), its_places in batches.items():
        waiting.append(_serve(role, [requests[i] for i in its_places], models))
        places.append(its_places)
    for its_places, served in zip(places, await _all_of(waiting), strict=True):
        for place, reply in zip(its_places, served, strict=True):
            replies[place] = reply
    return replies


async def _all_of(waiting: Sequence[Awaitable[Replies]]) -> list[Replies]:
    """Results of all, in order. None, or one alone, which is usual, needs no task of its own."""
    if len(waiting) > 1:
        return list(await asyncio.gather(*waiting))
    return [await served for served in waiting]


async def _serve(role: Role, batch: Sequence[Request], models: Models) -> Replies:
    """The replies of one model; never raises."""
    try:
        served = await _call(role, batch, models)
        if len(served) != len(batch):
            raise ValueError(f"{len(served)} replies to {len(batch)} requests")
    except RsdError as error:
        return [Failed(error)] * len(batch)
    except Exception as error:  # a bug or a device's fault: isolate it, and say so
        logger.exception("the %s model failed", role)
        failure = RequestError(f"the {role} model failed: {type(error).__name__}: {error}")
        return [Failed(failure)] * len(batch)
    return served


async def _call(
    role: Role, batch: Sequence[Request], models: Models
) -> Sequence[Generated | Scored | Proposed | Verified | Failed]:
    match batch[0]:
        case Propose():
            return await models.proposer().propose(cast(Sequence[Propose], batch))
        case Verify():
            return await models.verifier().verify(cast(Sequence[Verify], batch))
        case Score():
            return await models.reward_model().score(cast(Sequence[Score], batch))
        case _:
            return await models.language_model(role).generate(cast(Sequence[Generate], batch))


def first_failure(replies: Sequence[Reply | Failed]) -> RsdError | None:
    """The error of the first request that failed."""
    return next((reply.error for reply in replies if isinstance(reply, Failed)), None)
