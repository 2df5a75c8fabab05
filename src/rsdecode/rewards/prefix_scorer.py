"""A reward model that is a network over token prefixes: the base of all that is loaded."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import islice
from typing import NamedTuple, cast

from rsdecode.core.cost import ModelShape
from rsdecode.core.errors import ContextFull, PromptTooLong, RewardError
from rsdecode.core.requests import Failed, Score, Scored
from rsdecode.core.types import Usage
from rsdecode.rewards.calibration import Calibration
from rsdecode.rewards.chunks import At, ChunkFormat, pieces
from rsdecode.rewards.format import Format, Ids
from rsdecode.rewards.reader import Described, Marked, Reader, Rewards
from rsdecode.rewards.requests import nothing_to_score
from rsdecode.text.rendering import characters, render_all

CACHED_TEXTS = 4096


class _Asked(NamedTuple):
    """A job, and what its readings stand for.

    Attributes:
        chunk: whether all of them together are one reward, the lowest.
        inside: whether it is of a chunk that ends no step.
    """

    job: Marked
    chunk: bool = False
    inside: bool = False


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
        at: where chunks are read that end no step; None for at a mark, as steps.
        calibration: of their readings.
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
        self.at: At | None = None
        self.calibration: Calibration | None = None
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
            **self._chunks,
            "context": f"{self._max_context} tokens",
            **(self._reader.describe() if isinstance(self._reader, Described) else {}),
        }

    @property
    def _chunks(self) -> dict[str, str]:
        """Where chunks are read, for people."""
        if self.at in (None, "mark"):
            return {}
        where = "lowest reading of its tokens" if self.at == "lowest" else "its last token"
        mapped = "" if self.calibration is None else ", as a calibrated probability"
        return {"chunk inside a step": f"{where}{mapped}"}

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
        jobs = [each.job for plan in plans if not isinstance(plan, Failed) for each in plan]
        read = iter(await self._reader.read(jobs) if jobs else [])
        return [
            plan if isinstance(plan, Failed) else self._reply(plan, list(islice(read, len(plan))))
            for plan in plans
        ]

    def _plan(self, request: Score) -> list[_Asked] | Failed:
        """The jobs that answer a request: one, or one per step where each needs its closing."""
        if not request.steps:
            return nothing_to_score()
        if self.at in ("token", "lowest"):
            return self._plan_chunks(request)
        ids = list(self._prompt_ids(request.context.messages))
        prompt, ends = len(ids), list[int]()
        for index, step in enumerate((*request.context.answer, *request.steps)):
            ids.extend(self._step_ids(step.text, index))
            ends.append(len(ids))
        decided = ends[len(request.context.answer) - 1] if request.context.answer else prompt
        ends = ends[-len(request.steps) :]
        closing = self.format.closing_ids
        if len(ids) + len(closing) > self._max_context:
            return self._too_long(prompt, len(ids) + len(closing))
        if not closing:
            marks = tuple(end - 1 for end in ends)
            return [_Asked(Marked(request.session, tuple(ids), marks, returns=(decided,)))]
        read = [(end, (*ids[:end], *closing)) for end in ends]
        return [
            _Asked(Marked(request.session, prefix, (len(prefix) - 1,), returns=(decided, end)))
            for end, prefix in read
        ]

    def _plan_chunks(self, request: Score) -> list[_Asked] | Failed:
        """A job for each chunk, to be read where it ends or at its own tokens."""
        prompt = self._prompt_ids(request.context.messages)
        form, lowest = cast(ChunkFormat, self.format), self.at == "lowest"
        read = pieces(form, prompt, request, lowest=lowest)
        longest = max(len(piece.ids) for piece in read)
        if longest > self._max_context:
            return self._too_long(len(prompt), longest)
        return [
            _Asked(Marked(request.session, piece.ids, piece.marks), chunk=True, inside=piece.inside)
            for piece in read
        ]

    def _reply(self, plan: Sequence[_Asked], parts: Sequence[Rewards | Failed]) -> Scored | Failed:
        rewards: list[float] = []
        usage = Usage()
        for asked, part in zip(plan, parts, strict=True):
            if isinstance(part, Failed):
                return part
            usage += part.usage
            values = (min(part.values),) if asked.chunk else part.values
            if asked.inside and self.calibration is not None and all(map(math.isfinite, values)):
                values = self.calibration.all(values)
            rewards += values
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
