"""A Python function as the reward model: `python:module:function`."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any

from rsdecode.core.errors import ConfigError, RequestError, RewardError
from rsdecode.core.requests import Failed, Score, Scored
from rsdecode.core.types import Usage
from rsdecode.rewards.requests import nothing_to_score
from rsdecode.rewards.user_function import find_function


class FunctionReward:
    """Calls `function(question, steps)` for the last of `steps`.

    The function gets the question's text and the list of step texts so far, and returns a number in
    [0, 1]. It may be async; if it is not, it runs in a thread, so calls may overlap.

    Args:
        function: the function, or `module:function`; the module is looked for on the Python path,
            then in the working directory.

    Raises:
        ConfigError: there is no such module or function, or it does not take two arguments.
    """

    def __init__(self, function: str | Callable[..., Any]) -> None:
        if isinstance(function, str):
            self._spec = function
            self._function = find_function(function, f"reward function {function!r}")
        else:
            self._function = function
            self._spec = getattr(function, "__qualname__", repr(function))
        _require_two(self._function, self._spec)

    def describe(self) -> dict[str, str]:
        """What `rsd doctor` prints."""
        kind = "async function" if _is_async(self._function) else "function"
        return {"kind": kind, "function": self._spec}

    def close(self) -> None:
        """Nothing to release."""

    async def score(self, requests: Sequence[Score]) -> list[Scored | Failed]:
        """Score all requests at the same time; replies in their order."""
        return list(await asyncio.gather(*map(self._reply, requests)))

    async def _reply(self, request: Score) -> Scored | Failed:
        if not request.steps:
            return nothing_to_score()
        steps = [segment.text for segment in (*request.context.answer, *request.steps)]
        first = len(request.context.answer) + 1
        ends = range(first, len(steps) + 1)
        try:
            rewards = await asyncio.gather(
                *(self._call(request.context.question, steps[:end]) for end in ends)
            )
        except RequestError as error:
            return Failed(error)
        return Scored(tuple(rewards), Usage(calls=1))

    async def _call(self, question: str, steps: list[str]) -> float:
        try:
            if _is_async(self._function):
                value = await self._function(question, steps)
            else:
                value = await asyncio.to_thread(self._function, question, steps)
        except Exception as error:  # whatever the user's code raises fails this request alone
            raise RewardError(
                f"{self._spec} raised {type(error).__name__}: {error}; "
                "correct the function, or let it return a low reward instead"
            ) from error
        number: Any = value
        if not isinstance(value, Real):
            raise RewardError(
                f"{self._spec} returned {value!r} of type {type(value).__name__}: "
                "it must return a number in [0, 1]"
            )
        if not 0.0 <= number <= 1.0:
            raise RewardError(
                f"{self._spec} returned {value!r}: a reward must be a finite number in [0, 1]; "
                "scale or repair it in the function"
            )
        return float(number)


def _require_two(function: Callable[..., Any], name: str) -> None:
    """Check that a function can be called with a question and steps.

    Raises:
        ConfigError: it cannot.
    """
    try:
        inspect.signature(function).bind("", [])
    except ValueError:
        return  # written in C: calling it tells
    except TypeError as error:
        raise ConfigError(
            f"the reward function {name} must take a question and the list of its steps ({error})"
        ) from None


def _is_async(function: Callable[..., Any]) -> bool:
    call: Any = getattr(function, "__call__", None)  # noqa: B004 - an object with an async call
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)
