"""The policy to compare with: all problems move together, as in the paper's implementation.

A round has three phases: all problems draft, all drafts are scored, all rejected ones are written
again. Each phase waits for its slowest request, while the servers of the other phases stand idle.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from typing import cast

from rsdecode.core.protocols import Models
from rsdecode.core.requests import (
    Announce,
    Decoding,
    Failed,
    Generate,
    Reply,
    Request,
    Score,
)
from rsdecode.core.types import Problem, Role, Trajectory
from rsdecode.methods import Method

PHASES = (Role.DRAFT, Role.REWARD, Role.TARGET)


async def lock_step(
    problems: Iterable[Problem], models: Models, method: Method, *, seed: int = 0
) -> AsyncGenerator[Trajectory]:
    """Yield trajectories as they end; the same ones as a session's, at other times.

    The method must ask one role at a time, as RSD without lookahead does.
    """
    waiting: dict[Decoding, Sequence[Request]] = {}
    for problem in problems:
        decoding = method(problem, seed=seed)
        waiting[decoding] = next(decoding)
    while waiting:
        for role in PHASES:
            phase = {d: requests for d, requests in waiting.items() if _role(requests[0]) is role}
            replies = iter(await _serve(models, role, [r for rs in phase.values() for r in rs]))
            for decoding, requests in phase.items():
                del waiting[decoding]
                try:
                    waiting[decoding] = _resume(decoding, [next(replies) for _ in requests])
                except StopIteration as end:
                    yield cast(Trajectory, end.value)


def _role(request: Request) -> Role:
    return request.role if isinstance(request, Generate) else Role.REWARD


async def _serve(models: Models, role: Role, batch: Sequence[Request]) -> Sequence[Reply | Failed]:
    """One batch for all problems; back when its last request is."""
    if not batch:
        return []
    if role is Role.REWARD:
        return await models.reward_model().score(cast(Sequence[Score], batch))
    return await models.language_model(role).generate(cast(Sequence[Generate], batch))


def _resume(decoding: Decoding, replies: Sequence[Reply | Failed]) -> Sequence[Request]:
    """Send the replies; returns the next question, news left out."""
    failed = next((reply for reply in replies if isinstance(reply, Failed)), None)
    if failed is not None:
        requests = decoding.throw(failed.error)
    else:
        requests = decoding.send(cast(Sequence[Reply], replies))
    while all(isinstance(request, Announce) for request in requests):
        requests = decoding.send([None] * len(requests))
    return requests
