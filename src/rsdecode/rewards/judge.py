"""A language model as the judge: it grades a step from 0 to 9, and its tokens are paid for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import islice

from rsdecode.core.cost import ModelShape
from rsdecode.core.errors import ConfigError, RewardError
from rsdecode.core.protocols import Caching, Choose, Chooser, Chosen, Closeable, Noted, Sized
from rsdecode.core.requests import Failed, Score, Scored
from rsdecode.core.types import Message, Usage
from rsdecode.rewards.requests import nothing_to_score

GRADES = tuple(str(grade) for grade in range(10))
INSTRUCTION = (
    "You grade the solution of a problem step by step. Read the problem and the steps, then grade "
    "the last step: 0 means that it is certainly wrong or useless, 9 that it is certainly right "
    "and brings the solution forward. Earlier steps only matter for what the last one builds on. "
    "Reply with one digit."
)


class JudgeReward:
    """Reward = expected grade / 9, over the probabilities of the ten digits as the next token.

    Args:
        model: any language model that is a `Chooser`.

    Raises:
        ConfigError: the model does not give probabilities of its next token.
    """

    def __init__(self, model: object) -> None:
        if not isinstance(model, Chooser):
            raise ConfigError(
                f"{type(model).__name__} does not give the probabilities of its next token, which "
                "a judge needs: use a local model (judge:PATH) or another reward"
            )
        self._model = model

    @property
    def shape(self) -> ModelShape | None:
        """The judge's sizes, where known."""
        return self._model.shape if isinstance(self._model, Sized) else None

    def describe(self) -> dict[str, str]:
        """What `rsd doctor` prints."""
        return {"kind": "judge", "step mark": "none: one prompt per step"}

    def end(self, session: str) -> None:
        """A session is over."""
        if isinstance(self._model, Caching):
            self._model.end(_session(session))

    def clear(self) -> None:
        """Empty the cache, between two runs."""
        if isinstance(self._model, Caching):
            self._model.clear()

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of results must know of the judge."""
        return self._model.notes if isinstance(self._model, Noted) else ()

    def close(self) -> None:
        """Close the judge; safe to call twice."""
        if isinstance(self._model, Closeable):
            self._model.close()

    async def score(self, requests: Sequence[Score]) -> list[Scored | Failed]:
        """Grade every step of all requests in one batch; replies in the order of the requests."""
        questions = [_questions(request) for request in requests]
        asked = [question for listed in questions for question in listed]
        chosen = iter(await self._model.choose(asked) if asked else [])
        return [_reply(list(islice(chosen, len(listed)))) for listed in questions]


def _questions(request: Score) -> list[Choose]:
    """One prompt per step; what comes before the last step is a shared prefix."""
    answer = [segment.text.strip() for segment in (*request.context.answer, *request.steps)]
    first = len(request.context.answer) + 1
    head = f"{INSTRUCTION}\n\nProblem:\n{request.context.question.strip()}\n"
    prompts = [head + _numbered(answer[:end]) for end in range(first, len(answer) + 1)]
    return [
        Choose((Message("user", _valid(prompt)),), GRADES, _session(request.session))
        for prompt in prompts
    ]


def _session(session: str) -> str:
    """Of the judge, which may be the target itself: a prefix of its own."""
    return f"judge/{session}"


def _valid(text: str) -> str:
    """Lone surrogates, which no tokenizer takes, become question marks."""
    return text.encode(errors="replace").decode()


def _numbered(steps: Sequence[str]) -> str:
    listed = "".join(f"\nStep {i}:\n{step}\n" for i, step in enumerate(steps, 1))
    return f"{listed}\nGrade of step {len(steps)} (0-9):"


def _reply(chosen: Sequence[Chosen | Failed]) -> Scored | Failed:
    if not chosen:
        return nothing_to_score()
    rewards: list[float] = []
    usage = Usage()
    for reply in chosen:
        if isinstance(reply, Failed):
            return reply
        grade = math.fsum(i * p for i, p in enumerate(reply.probabilities))
        total = math.fsum(reply.probabilities)
        if len(reply.probabilities) != len(GRADES) or not math.isclose(total, 1.0, abs_tol=1e-3):
            return Failed(
                RewardError(
                    f"the judge gave the probabilities {reply.probabilities} for the digits 0-9, "
                    "which must be ten numbers that sum to 1; try --dtype float32, or another judge"
                )
            )
        rewards.append(min(1.0, max(0.0, grade / (len(GRADES) - 1))))
        usage += reply.usage
    return Scored(tuple(rewards), usage)
