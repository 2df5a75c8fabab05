"""What the gates share that have a language model read the steps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from rsdecode.core.cost import ModelShape
from rsdecode.core.errors import ConfigError
from rsdecode.core.protocols import (
    NOT_ASSESSED,
    Assessor,
    Caching,
    Closeable,
    Noted,
    Sized,
)
from rsdecode.core.requests import (
    Assess,
    Assessed,
    Failed,
    Likelihood,
    Sampling,
    Score,
    Scored,
    TokenReward,
)
from rsdecode.rewards.requests import nothing_to_score


class ReadingReward(ABC):
    """A reward for which a language model, usually the target, reads the steps.

    It reads in the sessions of the run, so that what it has read for the reward is in its cache
    when it has to write. What it computes is the reward's in the ledger.

    Args:
        model: reads.
        temperature: of the probabilities.

    Raises:
        ConfigError: the model does not tell how likely a text is.
    """

    def __init__(self, model: object, temperature: float = 1.0) -> None:
        if not isinstance(model, Assessor):
            raise ConfigError(NOT_ASSESSED.format(role="target"))
        self._model = model
        self._sampling = Sampling(temperature=temperature)

    @property
    def shape(self) -> ModelShape | None:
        """The sizes of the model that reads, where known."""
        return self._model.shape if isinstance(self._model, Sized) else None

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of results must know of the model."""
        return self._model.notes if isinstance(self._model, Noted) else ()

    def end(self, session: str) -> None:
        """A session is over."""
        if isinstance(self._model, Caching):
            self._model.end(session)

    def clear(self) -> None:
        """Empty the cache, between two runs."""
        if isinstance(self._model, Caching):
            self._model.clear()

    def close(self) -> None:
        """Close the model; safe to call twice."""
        if isinstance(self._model, Closeable):
            self._model.close()

    @property
    def is_of_worst_token(self) -> bool:
        """Whether a step's reward is that of its worst token, so that tokens have rewards too."""
        return False

    @abstractmethod
    def reward(self, likelihood: Likelihood) -> float:
        """The reward of one step."""

    async def score(self, requests: Sequence[Score]) -> list[Scored | Failed]:
        """Score all requests in one batch; replies in their order."""
        asked = [
            Assess(r.context, r.steps, self._sampling, session=r.session, places=r.by_token)
            for r in requests
            if r.steps
        ]
        replies = iter(await self._model.assess(asked) if asked else [])
        scored: list[Scored | Failed] = []
        for request in requests:
            reply = next(replies) if request.steps else nothing_to_score()
            if isinstance(reply, Failed):
                scored.append(reply)
            else:
                scored.append(self._scored(request, reply))
        return scored

    def _scored(self, request: Score, reply: Assessed) -> Scored:
        told = request.by_token and self.is_of_worst_token
        tokens = tuple(map(self._token_rewards, reply.steps)) if told else ()
        return Scored(tuple(map(self.reward, reply.steps)), reply.usage, tokens)

    def _token_rewards(self, step: Likelihood) -> tuple[TokenReward, ...]:
        """Each token as a step of its own; none where the model does not tell their places."""
        if not step.places:
            return ()
        alone = map(Likelihood, zip(step.logprobs), zip(step.firsts))
        rewards = map(self.reward, alone)
        return tuple(map(TokenReward, step.places, rewards))
