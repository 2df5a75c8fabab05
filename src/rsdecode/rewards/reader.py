"""The seam between formats and networks: token ids and marks in, one reward for each mark out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast, runtime_checkable

from rsdecode.backends.transformers.jobs import Prefill, Prefilled
from rsdecode.core.requests import Failed
from rsdecode.core.types import Usage
from rsdecode.rewards.format import Ids

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Marked:
    """Token ids to read, and the positions `marks` at which a reward is wanted.

    Attributes:
        session: those of one session share a growing prefix.
        returns: numbers of first tokens at which later ids of the session may part from these.
    """

    session: str
    ids: Ids
    marks: tuple[int, ...]
    returns: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Rewards:
    """One reward for each mark."""

    values: tuple[float, ...]
    usage: Usage


class Reader(Protocol):
    """A network with a reward head, here (`EngineReader`) or behind a server (`served.py`)."""

    async def read(self, jobs: Sequence[Marked]) -> list[Rewards | Failed]:
        """Serve each job; replies in their order."""
        ...

    def end(self, session: str) -> None:
        """A session is over."""
        ...

    def clear(self) -> None:
        """Empty the cache, between two runs."""
        ...

    def close(self) -> None:
        """Answer what is under way with `Failed`. Safe to call twice."""
        ...


@runtime_checkable
class Described(Protocol):
    """A reader that has something to say of itself."""

    def describe(self) -> dict[str, str]:
        """What `rsd doctor` prints of it."""
        ...


@runtime_checkable
class Cached(Protocol):
    """A `Prefiller` that can tell the size of its cache."""

    def describe_cache(self) -> str:
        """How much memory its cache may take, for people."""
        ...


class Prefiller(Protocol):
    """Reads token ids and gives a network's outputs; `backends.transformers.engine.Engine`."""

    async def prefill(self, jobs: Sequence[Prefill]) -> list[Prefilled | Failed]:
        """Serve each job; replies in their order."""
        ...

    def end(self, session: str) -> None:
        """A session is over."""
        ...

    def clear(self) -> None:
        """Empty the cache, between two runs."""
        ...

    def close(self) -> None:
        """Answer what is under way with `Failed`. Safe to call twice."""
        ...


class EngineReader:
    """Reads with an engine in this process, which computes only what is new in a session.

    Args:
        engine: reads the tokens.
        to_rewards: outputs at the marks [marks, columns], float32, to rewards [marks].
        columns: output columns that `to_rewards` needs; empty for all.
    """

    def __init__(
        self, engine: Prefiller, to_rewards: Callable[[Tensor], Tensor], columns: Ids = ()
    ) -> None:
        self._engine = engine
        self._to_rewards = to_rewards
        self._columns = columns

    async def read(self, jobs: Sequence[Marked]) -> list[Rewards | Failed]:
        """Serve all jobs in one batch; replies in their order."""
        prefills = [
            Prefill(job.session, job.ids, job.marks, self._columns, returns=job.returns)
            for job in jobs
        ]
        return [self._rewards(output) for output in await self._engine.prefill(prefills)]

    def describe(self) -> dict[str, str]:
        """The memory of its cache."""
        engine = self._engine
        return {"cache": engine.describe_cache()} if isinstance(engine, Cached) else {}

    def end(self, session: str) -> None:
        """A session is over: its place in the cache is free."""
        self._engine.end(session)

    def clear(self) -> None:
        """Empty the cache, between two runs."""
        self._engine.clear()

    def close(self) -> None:
        """Close the engine; safe to call twice."""
        self._engine.close()

    def _rewards(self, output: Prefilled | Failed) -> Rewards | Failed:
        if isinstance(output, Failed):
            return output
        read = self._to_rewards(output.outputs.float())
        return Rewards(tuple(cast("list[float]", read.tolist())), output.usage)
