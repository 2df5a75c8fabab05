"""A reward model that is a network over token prefixes: the base of all that is loaded."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Protocol, cast

from rsdecode.backends.transformers.jobs import Prefill, Prefilled
from rsdecode.core.cost import ModelShape
from rsdecode.core.errors import PromptTooLong, RewardError, RsdError
from rsdecode.core.requests import Failed, Score, Scored
from rsdecode.core.types import Usage
from rsdecode.rewards.format import Format, Ids
from rsdecode.rewards.requests import nothing_to_score

if TYPE_CHECKING:
    from torch import Tensor

CACHED_TEXTS = 4096


class Prefiller(Protocol):
    """Reads token ids and gives a network's outputs; `backends.transformers.engine.Engine`."""

    async def prefill(self, jobs: Sequence[Prefill]) -> list[Prefilled | Failed]:
        """Serve each job; replies in their order."""
        ...

    def close(self) -> None:
        """Answer what is under way with `Failed`. Safe to call twice."""
        ...


class PrefixScorer:
    """Renders requests with a format, reads them with an engine, turns outputs into rewards.

    Scoring is incremental: all requests of a session share its prefix in the engine's cache.

    Args:
        engine: reads the tokens.
        format: renders them.
        to_rewards: outputs at the marks [marks, columns], float32, to rewards [marks].
        max_context: tokens that the network can read.
        columns: output columns that `to_rewards` needs; empty for all.
        kind: name of the kind of reward model.
        shape: of the network, for FLOPs.
    """

    def __init__(
        self,
        engine: Prefiller,
        format: Format,
        to_rewards: Callable[[Tensor], Tensor],
        *,
        max_context: int,
        columns: Ids = (),
        kind: str = "",
        shape: ModelShape | None = None,
    ) -> None:
        self.shape = shape
        self.format = format
        self.kind = kind
        self._engine = engine
        self._to_rewards = to_rewards
        self._max_context = max_context
        self._columns = columns
        self._prompt_ids = lru_cache(CACHED_TEXTS)(format.prompt_ids)
        self._step_ids = lru_cache(CACHED_TEXTS)(format.step_ids)

    def describe(self) -> dict[str, str]:
        """What `rsd doctor` prints."""
        return {
            "kind": self.kind,
            "step mark": self.format.mark,
            "context": f"{self._max_context} tokens",
        }

    def close(self) -> None:
        """Close the engine; safe to call twice."""
        self._engine.close()

    async def score(self, requests: Sequence[Score]) -> list[Scored | Failed]:
        """Score all requests in one batch; replies in their order."""
        plans = [self._plan_or_fail(request) for request in requests]
        jobs = [job for plan in plans if not isinstance(plan, Failed) for job in plan]
        outputs = iter(await self._engine.prefill(jobs) if jobs else [])
        return [
            plan if isinstance(plan, Failed) else self._reply(list(islice(outputs, len(plan))))
            for plan in plans
        ]

    def _plan_or_fail(self, request: Score) -> list[Prefill] | Failed:
        """A text that cannot be rendered fails its own request alone."""
        try:
            return self._plan(request)
        except RsdError as error:
            return Failed(error)

    def _plan(self, request: Score) -> list[Prefill] | Failed:
        """The jobs that answer a request: one, or one per step where each needs its closing."""
        if not request.steps:
            return nothing_to_score()
        ids = list(self._prompt_ids(request.context.messages))
        ends: list[int] = []
        for index, step in enumerate((*request.context.answer, *request.steps)):
            ids.extend(self._step_ids(step.text, index))
            ends.append(len(ids))
        ends = ends[-len(request.steps) :]
        closing = self.format.closing_ids
        if len(ids) + len(closing) > self._max_context:
            return self._too_long(len(ids) + len(closing))
        if not closing:
            marks = tuple(end - 1 for end in ends)
            return [Prefill(request.session, tuple(ids), marks, self._columns)]
        read = [(*ids[:end], *closing) for end in ends]
        return [
            Prefill(request.session, prefix, (len(prefix) - 1,), self._columns) for prefix in read
        ]

    def _reply(self, outputs: Sequence[Prefilled | Failed]) -> Scored | Failed:
        rewards: list[float] = []
        usage = Usage()
        for output in outputs:
            if isinstance(output, Failed):
                return output
            read = self._to_rewards(output.outputs.float())
            rewards += cast("list[float]", read.tolist())
            usage += output.usage
        if not all(map(math.isfinite, rewards)):
            return Failed(
                RewardError(
                    f"the reward model ({self.kind}) returned {rewards}: its weights are damaged "
                    "or overflow in this dtype; try --dtype float32"
                )
            )
        return Scored(tuple(rewards), usage)

    def _too_long(self, length: int) -> Failed:
        return Failed(
            PromptTooLong(
                f"the question and its steps are {length} tokens for the reward model, which reads "
                f"at most {self._max_context}: limit the answer's tokens, or choose a reward model "
                "with a longer context"
            )
        )
