"""Replicas behind a handle of Ray Serve."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from rsdecode.core.errors import RequestError
from rsdecode.distributed.remote import ReplicaLost
from rsdecode.distributed.replicas import Ability, Facts


class ServeReplicas:
    """The replicas of a deployment of `ModelReplica` (see `remote.Replicas`).

    Args:
        handle: of the deployment.
    """

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    async def ask(
        self, key: str, ability: Ability, requests: Sequence[Any], *, logprobs: bool
    ) -> list[Any]:
        """See `remote.Replicas`."""
        handle = self._handle.options(session_id=key)
        return await _result(handle.ask.remote(ability, list(requests), logprobs=logprobs))

    async def end(self, key: str, session: str) -> None:
        """See `remote.Replicas`."""
        await _result(self._handle.options(session_id=key).end.remote(session))

    async def facts(self) -> Facts:
        """What the model tells of itself; waits until a replica is there."""
        return await _result(self._handle.facts.remote())


async def _result(response: Any) -> Any:
    """What a call gives. Ray neither repeats it nor ends it by itself when nobody waits any more.

    Raises:
        ReplicaLost: the replica, or its node, is gone, or none takes the call.
        RequestError: it raised something.
    """
    from ray.exceptions import RayError, RayTaskError, TaskCancelledError
    from ray.serve.exceptions import RayServeException

    try:
        return await response
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            response.cancel()
            raise
        raise ReplicaLost(f"the call was cancelled by Ray: {error}") from None
    except TaskCancelledError as error:
        raise ReplicaLost(_first_line(error)) from None
    except RayTaskError as error:
        raise RequestError(f"a replica failed: {_last_line(error)}") from None
    except (RayError, RayServeException) as error:
        raise ReplicaLost(_first_line(error)) from None


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _last_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[-1]
