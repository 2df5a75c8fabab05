"""The judge's prompt, its expected grade and its bill."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from rsdecode.backends.scripted import ScriptedModel
from rsdecode.core.cost import ModelShape
from rsdecode.core.errors import ConfigError, OutOfMemory, RewardError
from rsdecode.core.protocols import Choose, Chosen
from rsdecode.core.requests import Failed, Scored
from rsdecode.core.types import Usage
from rsdecode.rewards import JudgeReward
from tests.rewards.tiny import request

SHAPE = ModelShape(parameters=7)


class ScriptedChooser:
    """Grades by a function of the prompt."""

    shape = SHAPE

    def __init__(self, *replies: Sequence[float] | Failed) -> None:
        self._replies = list(replies)
        self.asked: list[Choose] = []
        self.calls = self.closed = 0

    async def choose(self, requests: Sequence[Choose]) -> list[Chosen | Failed]:
        self.calls += 1
        self.asked += requests
        taken = [self._replies.pop(0) for _ in requests]
        usage = Usage(prefill_tokens=10, decoded_tokens=1, calls=1)
        return [r if isinstance(r, Failed) else Chosen(tuple(r), usage) for r in taken]

    def close(self) -> None:
        self.closed += 1


def sure(grade: int) -> list[float]:
    return [float(i == grade) for i in range(10)]


async def test_reward_is_the_expected_grade_over_nine():
    mixed = [0.25, 0, 0, 0, 0, 0, 0, 0, 0, 0.75]
    judge = JudgeReward(ScriptedChooser(sure(0), sure(9), sure(6), mixed))
    asks = [request("q", [], [step]) for step in "abcd"]
    replies = await judge.score(asks)
    assert [r.rewards for r in replies] == [
        (0.0,),
        (1.0,),
        (pytest.approx(6 / 9),),
        (pytest.approx(0.75),),
    ]


async def test_every_step_is_a_prompt_and_its_tokens_are_paid_for():
    model = ScriptedChooser(sure(9), sure(0), sure(9))
    judge = JudgeReward(model)
    asks = [request("How many?", ["One.\n\n"], ["Two.", "Three."], "s"), request("Q", [], ["A"])]
    [first, second] = await judge.score(asks)
    assert first == Scored((1.0, 0.0), Usage(prefill_tokens=20, decoded_tokens=2, calls=2))
    assert second.usage == Usage(prefill_tokens=10, decoded_tokens=1, calls=1)
    assert model.calls == 1, "one batch for all requests"


async def test_prompts_hold_question_and_steps_so_far_and_share_a_prefix():
    model = ScriptedChooser(sure(9), sure(9))
    ask = request("How many?", ["One.\n\n"], ["Two.", "Three."], "s")
    await JudgeReward(model).score([ask])
    [two, three] = [asked.messages[0].content for asked in model.asked]
    assert "How many?" in two
    assert "Step 1:\nOne.\n" in two
    assert two.endswith("Step 2:\nTwo.\n\nGrade of step 2 (0-9):")
    assert "Three." not in two
    shared = two.removesuffix("Grade of step 2 (0-9):")
    assert three.startswith(shared)
    assert three.endswith("Step 3:\nThree.\n\nGrade of step 3 (0-9):")
    assert {asked.choices for asked in model.asked} == {tuple("0123456789")}
    assert {asked.session for asked in model.asked} == {"judge/s"}


async def test_a_failed_choice_fails_its_request_alone():
    model = ScriptedChooser(Failed(OutOfMemory("full")), sure(9))
    replies = await JudgeReward(model).score([request("q", [], ["a"]), request("q", [], ["b"])])
    assert isinstance(replies[0], Failed)
    assert isinstance(replies[0].error, OutOfMemory)
    assert replies[1].rewards == (1.0,)


@pytest.mark.parametrize("grades", [[0.5] * 10, [1.0], [float("nan")] * 10])
async def test_probabilities_that_are_none_fail(grades):
    [reply] = await JudgeReward(ScriptedChooser(grades)).score([request("q", [], ["a"])])
    assert isinstance(reply, Failed)
    assert isinstance(reply.error, RewardError)
    assert "digits 0-9" in str(reply.error)


def test_a_model_that_cannot_choose_is_refused():
    with pytest.raises(ConfigError, match="ScriptedModel does not give the probabilities"):
        JudgeReward(ScriptedModel(lambda _: ""))


def test_shape_and_close_are_the_models():
    model = ScriptedChooser()
    judge = JudgeReward(model)
    assert judge.shape is SHAPE
    judge.close()
    assert model.closed == 1
    assert judge.describe()["kind"] == "judge"
