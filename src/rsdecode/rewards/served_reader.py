"""What readers behind a server share: connections, salts, and errors."""

from __future__ import annotations

import asyncio
import secrets
from abc import ABC, abstractmethod
from collections.abc import Sequence

from rsdecode.backends.openai_http.faults import Refusal
from rsdecode.backends.openai_http.transport import Exchange, Transport
from rsdecode.core.errors import ContextFull, RsdError
from rsdecode.core.requests import Failed
from rsdecode.rewards.reader import Marked, Rewards


class ServedReader(ABC):
    """A `Reader` that sends each job to a server.

    Args:
        transport: carries the requests; closed with the reader.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._salt: str | None = None

    async def read(self, jobs: Sequence[Marked]) -> list[Rewards | Failed]:
        """Serve all jobs at once; replies in their order."""
        return list(await asyncio.gather(*(self._read(job) for job in jobs)))

    def end(self, session: str) -> None:  # noqa: B027 - there is nothing to do
        """Nothing: servers see to their own caches."""

    def clear(self) -> None:
        """What follows does not use what was read before: vLLM's prefix cache knows salts."""
        self._salt = secrets.token_hex(16)

    def close(self) -> None:
        """Close the connections; safe to call twice."""
        self._transport.close()

    async def _read(self, job: Marked) -> Rewards | Failed:
        try:
            return await self._transport.run(job.session, lambda to: self._attempt(to, job))
        except Refusal as refusal:
            said = f"{self._transport.address}: {refusal}: serve the reward model with more context"
            return Failed(ContextFull(said))
        except RsdError as error:
            return Failed(error)

    @property
    def _salted(self) -> dict[str, object]:
        """The part of a request that keeps it from what was read before."""
        return {} if self._salt is None else {"cache_salt": self._salt}

    @abstractmethod
    async def _attempt(self, exchange: Exchange, job: Marked) -> Rewards:
        """Read one job on a connection."""
