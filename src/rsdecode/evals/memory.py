"""Models that remember what they replied, so that a sweep over thresholds costs little.

At temperature 0 a reply depends on the request alone, and two thresholds ask mostly the same. A
remembered reply carries the usage that it had the first time. Behind it the model's cache lacks
what it would hold by then; so before a session's next request that is not remembered, the model
reads that, and nobody pays for it: tokens and FLOPs are those of each threshold alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable, Sequence
from dataclasses import replace
from typing import Any, Generic, TypeVar

from rsdecode.core.cost import ModelShape
from rsdecode.core.protocols import (
    Caching,
    LanguageModel,
    Models,
    Noted,
    RewardModel,
    Sized,
    TakesGuesses,
)
from rsdecode.core.requests import Failed, Generate, Generated, Score, Scored
from rsdecode.core.segment import WHOLE_ANSWER
from rsdecode.core.types import Context

Request = TypeVar("Request", Generate, Score)
Reply = TypeVar("Reply")


class _Memory(Generic[Request, Reply]):
    """Replies by request; requests under way are waited for, not made twice.

    Args:
        key: what a reply depends on.
        reading: a request by which the model reads what a request and its reply left in its cache.
    """

    def __init__(
        self,
        key: Callable[[Request], Hashable],
        reading: Callable[[Request, Reply], Request],
    ) -> None:
        self._key = key
        self._reading = reading
        self._replies: dict[Hashable, asyncio.Future[Any]] = {}
        self._unread: dict[str, tuple[Request, Reply]] = {}
        """By session: what was remembered last, and so is not in the model's cache."""

    def end(self, session: str) -> None:
        """A session is over."""
        self._unread.pop(session, None)

    def clear(self) -> None:
        """The model's cache is empty."""
        self._unread.clear()

    async def recall(
        self,
        requests: Sequence[Request],
        ask: Callable[[Sequence[Request]], Coroutine[Any, Any, list[Reply]]],
    ) -> list[Reply]:
        """The replies, of those that are asked for the first time by `ask`."""
        keys = [self._key(request) for request in requests]
        new = [i for i, k in enumerate(keys) if k not in self._replies]
        left = [self._unread.pop(requests[i].session, None) for i in new]
        if unread := [self._reading(*pair) for pair in left if pair is not None]:
            await ask(unread)
        futures = {i: asyncio.get_running_loop().create_future() for i in new}
        self._replies |= {keys[i]: futures[i] for i in new}
        try:
            replies = await ask([requests[i] for i in new]) if new else []
            for i, reply in zip(new, replies, strict=True):
                futures[i].set_result(reply)
        finally:
            for i in new:
                if not futures[i].done():
                    futures[i].cancel()
                    del self._replies[keys[i]]
        found = [await self._replies[k] for k in keys]
        for i in set(range(len(requests))) - set(new):
            self._unread[requests[i].session] = requests[i], found[i]
        return found


class RememberingModel:
    """A language model that is asked the same greedy request only once."""

    def __init__(self, model: LanguageModel) -> None:
        self._model = model
        self._memory = _Memory[Generate, Generated | Failed](_written, _behind)

    @property
    def shape(self) -> ModelShape | None:
        """Of the model behind it."""
        return self._model.shape if isinstance(self._model, Sized) else None

    def end(self, session: str) -> None:
        """A session is over."""
        self._memory.end(session)
        if isinstance(self._model, Caching):
            self._model.end(session)

    def clear(self) -> None:
        """Empty the cache of the model; the memory stays."""
        self._memory.clear()
        if isinstance(self._model, Caching):
            self._model.clear()

    @property
    def notes(self) -> tuple[str, ...]:
        """Of the model behind it."""
        return self._model.notes if isinstance(self._model, Noted) else ()

    async def generate(self, requests: Sequence[Generate]) -> list[Generated | Failed]:
        """Serve each request; replies in the order of the requests."""
        if any(request.sampling.temperature > 0 for request in requests):
            return await self._model.generate(requests)
        return await self._memory.recall(requests, self._model.generate)


class RememberingReader(RememberingModel):
    """The same of a model that reads guesses (see `TakesGuesses`)."""

    def __init__(self, model: LanguageModel, reads: TakesGuesses) -> None:
        super().__init__(model)
        self._reads = reads

    @property
    def vocabulary(self) -> str:
        """Of the model behind it."""
        return self._reads.vocabulary

    def check_guesses(self) -> None:
        """See that the model behind it reads them."""
        self._reads.check_guesses()


class RememberingReward:
    """A reward model that scores the same step only once."""

    def __init__(self, model: RewardModel) -> None:
        self._model = model
        self._memory = _Memory[Score, Scored | Failed](_scored, lambda request, _: request)

    @property
    def shape(self) -> ModelShape | None:
        """Of the model behind it."""
        return self._model.shape if isinstance(self._model, Sized) else None

    def end(self, session: str) -> None:
        """A session is over."""
        self._memory.end(session)
        if isinstance(self._model, Caching):
            self._model.end(session)

    def clear(self) -> None:
        """Empty the cache of the model; the memory stays."""
        self._memory.clear()
        if isinstance(self._model, Caching):
            self._model.clear()

    @property
    def notes(self) -> tuple[str, ...]:
        """Of the model behind it."""
        return self._model.notes if isinstance(self._model, Noted) else ()

    async def score(self, requests: Sequence[Score]) -> list[Scored | Failed]:
        """Serve each request; replies in the order of the requests."""
        return await self._memory.recall(requests, self._model.score)


def remembering(models: Models) -> Models:
    """The same models, with a memory for as long as one event loop runs."""
    return Models(
        draft=None if models.draft is None else _remembering_model(models.draft),
        target=None if models.target is None else _remembering_model(models.target),
        reward=None if models.reward is None else RememberingReward(models.reward),
    )


def _remembering_model(model: LanguageModel) -> RememberingModel:
    if isinstance(model, TakesGuesses):
        return RememberingReader(model, model)
    return RememberingModel(model)


def _text(context: Context) -> Hashable:
    return context.messages, tuple(segment.text for segment in context.answer)


def _written(request: Generate) -> Hashable:
    asked = request.role, _text(request.context), request.max_tokens, request.boundary
    return *asked, request.begun, request.pauses and request.guess  # where it may pause


def _behind(request: Generate, reply: Generated | Failed) -> Generate:
    """Reads what was written, and writes a token that nobody wants."""
    context = request.context
    if isinstance(reply, Generated):
        context = context.followed_by(reply.segment)
    return replace(
        request, context=context, max_tokens=1, boundary=WHOLE_ANSWER, begun=None, guess=None
    )


def _scored(request: Score) -> Hashable:
    return _text(request.context), tuple(step.text for step in request.steps)
