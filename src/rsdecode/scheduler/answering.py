"""Answer the requests of one method: what the sync and the async driver have in common."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import cast

from rsdecode.core.errors import RequestError, RsdError
from rsdecode.core.protocols import Models
from rsdecode.core.requests import (
    Decided,
    Failed,
    Generate,
    Generated,
    Reply,
    Request,
    Score,
    Scored,
)
from rsdecode.core.types import Role

logger = logging.getLogger(__name__)


async def answer(requests: Sequence[Request], models: Models) -> list[Reply | Failed]:
    """Serve the requests that a method yielded, each role's as one batch, all roles at once.

    Replies come in the order of the requests. An exception of a model, which is a bug or a
    device's fault, becomes a `Failed` for each request of its batch.
    """
    replies: list[Reply | Failed] = [None] * len(requests)

    async def serve(role: Role, places: list[int]) -> None:
        batch = [requests[i] for i in places]
        try:
            served = await _call(role, batch, models)
            if len(served) != len(batch):
                raise ValueError(f"{len(served)} replies to {len(batch)} requests")
        except RsdError as error:
            served = [Failed(error)] * len(batch)
        except Exception as error:  # a bug or a device's fault: isolate it, and say so
            logger.exception("the %s model failed", role)
            failure = RequestError(f"the {role} model failed: {type(error).__name__}: {error}")
            served = [Failed(failure)] * len(batch)
        for place, reply in zip(places, served, strict=True):
            replies[place] = reply

    by_role: dict[Role, list[int]] = {}
    for place, request in enumerate(requests):
        if not isinstance(request, Decided):
            role = request.role if isinstance(request, Generate) else Role.REWARD
            by_role.setdefault(role, []).append(place)
    await asyncio.gather(*(serve(role, places) for role, places in by_role.items()))
    return replies


async def _call(
    role: Role, batch: Sequence[Request], models: Models
) -> Sequence[Generated | Scored | Failed]:
    if role is not Role.REWARD:
        return await models.language_model(role).generate(cast(Sequence[Generate], batch))
    return await models.reward_model().score(cast(Sequence[Score], batch))


def first_failure(replies: Sequence[Reply | Failed]) -> RsdError | None:
    """The error of the first request that failed."""
    return next((reply.error for reply in replies if isinstance(reply, Failed)), None)
