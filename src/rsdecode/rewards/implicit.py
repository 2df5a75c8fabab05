"""Implicit process rewards: how much likelier one language model finds a step than another.

A model that was trained on whole answers as r(y) = beta log(P(y) / P_ref(y)), with the model that
it was trained from as the reference, gives every step a reward of its own (Yuan et al., "Free
Process Rewards without Process Labels", arXiv 2412.01981, Section 3; EurusPRM). After step t it is

    q_t = beta * sum over the tokens up to the end of step t of log(P(y_i) / P_ref(y_i)),

of which the training makes sigmoid(q) the probability that the answer is right. That is the reward,
of the answer so far (q_t), or of the step alone (q_t - q_{t-1}).
"""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from itertools import accumulate
from typing import NamedTuple, cast

from rsdecode.core.cost import ModelShape
from rsdecode.core.errors import ConfigError
from rsdecode.core.protocols import (
    NOT_ASSESSED,
    Assessor,
    Caching,
    Closeable,
    MayNotAssess,
    Noted,
    Sized,
)
from rsdecode.core.requests import Assess, Assessed, Failed, Score, Scored
from rsdecode.core.types import Context, Message
from rsdecode.rewards.requests import nothing_to_score

BETA = 0.05
"""The paper's; EurusPRM's model card has 0.001."""
REMEMBERED = 4096


class _Plan(NamedTuple):
    """What is read for a request, and the sum over what is not."""

    ask: Assess
    known: float


class ImplicitReward:
    """The log-ratio of two language models, brought to [0, 1] by the logistic function.

    Both read the question alone in their chat templates, and the steps as they were written.

    Args:
        model: trained as a reward.
        reference: what it was trained from.
        beta: what log-ratios are multiplied with, as in training.
        whole: whether they are summed from the beginning of the answer, as in training, or over
            the step alone.

    Raises:
        ConfigError: one of the models does not tell how likely a text is.
    """

    def __init__(
        self, model: object, reference: object, *, beta: float = BETA, whole: bool = True
    ) -> None:
        self._models = _assessor(model), _assessor(reference)
        self._beta = beta
        self._whole = whole
        self._sums: OrderedDict[Hashable, float] = OrderedDict()

    @property
    def shape(self) -> ModelShape | None:
        """That of both; None where it is not known, or they differ."""
        shapes = [model.shape if isinstance(model, Sized) else None for model in self._models]
        return shapes[0] if shapes[0] == shapes[1] else None

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of results must know of both."""
        own: tuple[str, ...] = ()
        if self.shape is None:
            own = ("the two models of the implicit reward are of different or unknown size: FLOPs "
                   "are not told",)  # fmt: skip
        return (*own, *(note for m in self._models if isinstance(m, Noted) for note in m.notes))

    def describe(self) -> dict[str, str]:
        """What `rsd doctor` prints."""
        over = "the answer so far" if self._whole else "the step"
        return {
            "kind": "implicit",
            "reads": f"sigmoid({self._beta:g} * log(P / P_ref)) over the tokens of {over}",
            "cost": "both models read every step",
        }

    def end(self, session: str) -> None:
        """A session is over."""
        for model in self._models:
            if isinstance(model, Caching):
                model.end(session)

    def clear(self) -> None:
        """Empty the caches, between two runs."""
        self._sums.clear()
        for model in self._models:
            if isinstance(model, Caching):
                model.clear()

    def close(self) -> None:
        """Close both; safe to call twice."""
        for model in self._models:
            if isinstance(model, Closeable):
                model.close()

    async def score(self, requests: Sequence[Score]) -> list[Scored | Failed]:
        """Score all requests, each model in one batch; replies in their order."""
        plans = [self._plan(request) for request in requests if request.steps]
        asked = [plan.ask for plan in plans]
        model, reference = await asyncio.gather(*(m.assess(asked) for m in self._models))
        replies = iter(zip(plans, model, reference, strict=True))
        return [
            self._reply(request, *next(replies)) if request.steps else nothing_to_score()
            for request in requests
        ]

    def _plan(self, request: Score) -> _Plan:
        """What has to be read: with the answer before, where its sum is wanted and not known."""
        context = _alone(request.context)
        session = f"{request.session}/implicit"
        known = self._sums.get(_key(context), 0.0) if self._whole else 0.0
        if not self._whole or not context.answer or _key(context) in self._sums:
            return _Plan(Assess(context, request.steps, session=session), known)
        steps = (*context.answer, *request.steps)
        return _Plan(Assess(Context(context.messages), steps, session=session), known)

    def _reply(
        self, request: Score, plan: _Plan, model: Assessed | Failed, reference: Assessed | Failed
    ) -> Scored | Failed:
        if isinstance(model, Failed) or isinstance(reference, Failed):
            return model if isinstance(model, Failed) else cast(Failed, reference)
        ratios = [p.total - q.total for p, q in zip(model.steps, reference.steps, strict=True)]
        if self._whole:
            ratios = list(accumulate(ratios, initial=plan.known))[1:]
        ratios = ratios[-len(request.steps) :]
        self._remember(request, ratios)
        rewards = tuple(_logistic(self._beta * ratio) for ratio in ratios)
        return Scored(rewards, model.usage + reference.usage)

    def _remember(self, request: Score, sums: Sequence[float]) -> None:
        context = _alone(request.context)
        for count, value in enumerate(sums, 1):
            self._sums[_key(context.followed_by(*request.steps[:count]))] = value
        while len(self._sums) > REMEMBERED:
            self._sums.popitem(last=False)


def _assessor(model: object) -> Assessor:
    if not isinstance(model, Assessor):
        raise ConfigError(NOT_ASSESSED.format(role="implicit reward"))
    if isinstance(model, MayNotAssess):
        model.check_assesses()
    return model


def _alone(context: Context) -> Context:
    """The context with its last user message alone, as such models were trained."""
    return Context((Message("user", context.question),), context.answer)


def _key(context: Context) -> Hashable:
    return context.messages, tuple(segment.text for segment in context.answer)


def _logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))
