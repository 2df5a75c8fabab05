"""A reward model that is a network over token prefixes: the base of all that is loaded."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import islice

from rsdecode.core.cost import ModelShape
from rsdecode.core.errors import ContextFull, PromptTooLong, RewardError
from rsdecode.core.requests import Failed, Score, Scored
from rsdecode.core.types import Usage
from rsdecode.rewards.format import Format, Ids
from rsdecode.rewards.reader import Marked, Reader, Rewards
from rsdecode.rewards.requests import nothing_to_score
from rsdecode.text.rendering import characters, render_all

CACHED_TEXTS = 4096


class PrefixScorer:
    """Renders requests with a format and has their marks read.

    Scoring is incremental: all requests of a session share its prefix in the network's cache.

    Args:
        reader: reads the tokens.
        format: renders them.
        max_context: tokens that the network can read.
        kind: name of the kind of reward model.
        shape: of the network, for FLOPs.
        reads: what else is read and how, for people: labels or signs, with their ids.

    Attributes:
        warnings: what is suspicious about how it is read.
    """

    def __init__(
        self,
        reader: Reader,
        format: Format,
        *,
        max_context: int,
        kind: str = "",
        shape: ModelShape | None = None,
        reads: Mapping[str, str] | None = None,
    ) -> None:
        self.shape = shape
        self.format = format
        self.kind = kind
        self._max_context = max_context
        self.warnings: tuple[str, ...] = ()
        self._reads = dict(reads or {})
        self._reader = reader
        self._prompt_ids = lru_cache(CACHED_TEXTS)(format.prompt_ids)
        self._step_ids = lru_cache(CACHED_TEXTS)(format.step_ids)

    def describe(self) -> dict[str, str]:
        """What `rsd doctor` prints."""
        return {
            "kind": self.kind,
            "step mark": _with_ids(self.format.mark, self.format.mark_ids),
            **self._reads,
            "context": f"{self._max_context} tokens",
        }

    def end(self, session: str) -> None:
        """A session is over: its place in the cache is free."""
        self._reader.end(session)

    def clear(self) -> None:
        """Empty the cache, between two runs."""
        self._reader.clear()

    def close(self) -> None:
        """Close the reader; safe to call twice."""
        self._reader.close()

    async def score(self, requests: Sequence[Score]) -> list[Scored | Failed]:
        """Score all requests in one batch; replies in their order."""
        plans = await render_all(self._plan, requests, _length)
        jobs = [job for plan in plans if not isinstance(plan, Failed) for job in plan]
        read = iter(await self._reader.read(jobs) if jobs else [])
        return [
            plan if isinstance(plan, Failed) else self._reply(list(islice(read, len(plan))))
            for plan in plans
        ]

    def _plan(self, request: Score) -> list[Marked] | Failed:
        """The jobs that answer a request: one, or one per step where each needs its closing."""
        if not request.steps:
            return nothing_to_score()
        ids = list(self._prompt_ids(request.context.messages))
        prompt, ends = len(ids), list[int]()
        for index, step in enumerate((*request.context.answer, *request.steps)):
            ids.extend(self._step_ids(step.text, index))
            ends.append(len(ids))
        ends = ends[-len(request.steps) :]
        closing = self.format.closing_ids
        if len(ids) + len(closing) > self._max_context:
            return self._too_long(prompt, len(ids) + len(closing))
        if not closing:
            marks = tuple(end - 1 for end in ends)
            return [Marked(request.session, tuple(ids), marks)]
        read = [(*ids[:end], *closing) for end in ends]
        return [Marked(request.session, prefix, (len(prefix) - 1,)) for prefix in read]

    def _reply(self, parts: Sequence[Rewards | Failed]) -> Scored | Failed:
        rewards: list[float] = []
        usage = Usage()
        for part in parts:
            if isinstance(part, Failed):
                return part
            rewards += part.values
            usage += part.usage
        if not all(map(math.isfinite, rewards)):
            return Failed(
                RewardError(
                    f"the reward model ({self.kind}) returned {rewards}: its weights are damaged "
                    "or overflow in this dtype; try --dtype float32"
                )
            )
        return Scored(tuple(rewards), usage)

    def _too_long(self, prompt: int, length: int) -> Failed:
        error = PromptTooLong if prompt >= self._max_context else ContextFull
        return Failed(
            error(
                f"the question and its steps are {length} tokens for the reward model, which reads "
                f"at most {self._max_context}: limit the answer's tokens, or choose a reward model "
                "with a longer context"
            )
        )


def _with_ids(mark: str, ids: Ids) -> str:
    """A mark and the tokens that it is."""
    if not ids:
        return mark
    word = "id" if len(ids) == 1 else "ids"
    return f"{mark} ({word} {' '.join(map(str, ids))})"


def _length(request: Score) -> int:
    return characters(request.context.messages, (*request.context.answer, *request.steps))
