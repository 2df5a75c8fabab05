"""Python functions as rewards: what they get, and every way in which they fail."""

from __future__ import annotations

import asyncio
import sys
import time
from fractions import Fraction
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from rsdecode.core.errors import ConfigError, RewardError
from rsdecode.core.requests import Failed, Scored
from rsdecode.core.types import Usage
from rsdecode.rewards import FunctionReward
from tests.rewards.tiny import request


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Any:
    """An empty module of the name `mine`."""
    made = ModuleType("mine")
    monkeypatch.setitem(sys.modules, "mine", made)
    return made


async def one(reward: FunctionReward) -> Scored | Failed:
    [reply] = await reward.score([request("q", [], ["a"])])
    return reply


async def test_it_gets_the_question_and_the_steps_up_to_the_one_scored(module):
    seen = []

    def grade(question: str, steps: list[str]) -> float:
        seen.append((question, steps))
        return len(steps) / 10

    module.grade = grade
    [reply] = await FunctionReward("mine:grade").score([request("q", ["a"], ["b", "c"])])
    assert reply == Scored((0.2, 0.3), Usage(calls=1))
    assert sorted(seen) == [("q", ["a", "b"]), ("q", ["a", "b", "c"])]


async def test_it_may_be_async(module):
    async def grade(question: str, steps: list[str]) -> float:
        await asyncio.sleep(0)
        return 0.25

    class Grader:
        async def __call__(self, question: str, steps: list[str]) -> float:
            return 0.75

    module.grade, module.grader = grade, Grader()
    assert (await one(FunctionReward("mine:grade"))).rewards == (0.25,)
    assert (await one(FunctionReward("mine:grader"))).rewards == (0.75,)
    assert FunctionReward("mine:grade").describe()["kind"] == "async function"


async def test_a_slow_function_does_not_block_the_loop(module):
    module.grade = lambda question, steps: time.sleep(0.2) or 1.0
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticking = asyncio.create_task(tick())
    started = time.perf_counter()
    await FunctionReward("mine:grade").score([request("q", [], ["a"])] * 3)
    ticking.cancel()
    assert ticks >= 3
    assert time.perf_counter() - started < 0.55, "calls did not overlap"


@pytest.mark.parametrize("value", [0, 1, True, 0.5, np.float32(0.5), np.float64(1), Fraction(1, 3)])
async def test_any_real_number_in_range_will_do(module, value):
    module.grade = lambda question, steps: value
    assert (await one(FunctionReward("mine:grade"))).rewards == (float(value),)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (float("nan"), "returned nan: a reward must be a finite number"),
        (float("inf"), "returned inf"),
        (-0.1, "returned -0.1"),
        (1.01, "returned 1.01"),
        (10**400, "returned 1000"),
        (None, "returned None of type NoneType"),
        ("0.5", "returned '0.5' of type str"),
        ([0.5], r"returned \[0.5\] of type list"),
    ],
)
async def test_a_value_that_is_no_reward_fails_and_is_named(module, value, said):
    module.grade = lambda question, steps: value
    reply = await one(FunctionReward("mine:grade"))
    assert isinstance(reply, Failed)
    assert isinstance(reply.error, RewardError)
    with pytest.raises(RewardError, match=f"mine:grade {said}"):
        raise reply.error


async def test_an_exception_fails_its_request_alone(module):
    def grade(question: str, steps: list[str]) -> float:
        return 1 / (steps != ["bad"])

    module.grade = grade
    good, bad = request("q", [], ["good"]), request("q", [], ["bad"])
    replies = await FunctionReward("mine:grade").score([good, bad, good])
    assert [isinstance(reply, Failed) for reply in replies] == [False, True, False]
    assert "mine:grade raised ZeroDivisionError: division by zero" in str(replies[1].error)


def test_specs_are_checked(module):
    module.answer, module.visible = 42, len
    with pytest.raises(ConfigError, match="'mine' must be written module:function"):
        FunctionReward("mine")
    with pytest.raises(ConfigError, match=r"module 'mine' has no function 'grade'.*visible"):
        FunctionReward("mine:grade")
    with pytest.raises(ConfigError, match="is int, not a function"):
        FunctionReward("mine:answer")
    with pytest.raises(ConfigError, match="there is no module 'no_such_module'"):
        FunctionReward("no_such_module:grade")
    with pytest.raises(ConfigError, match=r"there is no module 'no_such_module.deeper'"):
        FunctionReward("no_such_module.deeper:grade")


@pytest.mark.parametrize(
    "function", [lambda: 1.0, lambda steps: 1.0, lambda question, steps, more: 1.0]
)
def test_a_function_that_takes_something_else_is_refused_at_once(function):
    with pytest.raises(ConfigError, match="must take a question and the list of its steps"):
        FunctionReward(function)


def test_a_function_may_take_more_than_it_is_given():
    class Scorer:
        def __call__(self, question, steps, scale=1.0):
            return scale

    for function in (Scorer(), Scorer().__call__, lambda *parts: 1.0, max):
        assert FunctionReward(function).describe()
