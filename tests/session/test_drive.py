from __future__ import annotations

import asyncio

import pytest

from rsdecode.backends.scripted import ScriptedModel, ScriptedReward
from rsdecode.core.errors import ConfigError, RequestError
from rsdecode.core.limits import Limits
from rsdecode.core.protocols import Models
from rsdecode.core.requests import Decoding, Generate
from rsdecode.core.types import FinishReason, Problem, Role, Step
from rsdecode.methods import RSD, Single
from rsdecode.session.drive import abandon, advance, drive
from tests.session.scripts import models

PROBLEM = Problem.ask("q")


def twelve(request: Generate) -> str:
    step = len(request.context.answer) + 1
    return f"adding {step}\n\n" if step < 12 else "done"


ALWAYS = Models(ScriptedModel(twelve), ScriptedModel(twelve), ScriptedReward(lambda r: 0.9))


def test_a_single_problem_of_twelve_steps_gets_them() -> None:
    trajectory = drive(RSD()(PROBLEM), ALWAYS)
    assert [step.text for step in trajectory.steps][:2] == ["adding 1\n\n", "adding 2\n\n"]
    assert len(trajectory.steps) == 12
    assert trajectory.stop_reason is FinishReason.EOS
    assert trajectory.seconds > 0.0


def test_the_watcher_sees_each_step_before_the_next_is_asked_for() -> None:
    events: list[str] = []

    def write(request: Generate) -> str:
        events.append(f"ask {len(request.context.answer)}")
        return twelve(request)

    def watch(step: Step) -> None:
        events.append(step.text.strip())

    models = Models(ScriptedModel(write), ScriptedModel(write), ScriptedReward(lambda r: 0.9))
    drive(RSD(limits=Limits(max_steps=3))(PROBLEM), models, watch)
    assert events == ["ask 0", "adding 1", "ask 1", "adding 2", "ask 2", "adding 3"]


@pytest.mark.parametrize("error", [RequestError("no memory"), ZeroDivisionError("oops")])
def test_an_error_of_a_model_is_in_the_trajectory(error: Exception) -> None:
    def write(request: Generate) -> str:
        if len(request.context.answer) == 2:
            raise error
        return twelve(request)

    broken = Models(ScriptedModel(write), ScriptedModel(twelve), ScriptedReward(lambda r: 0.9))
    trajectory = drive(RSD()(PROBLEM), broken)
    assert trajectory.stop_reason is FinishReason.ERROR
    assert str(error) in (trajectory.error or "")
    assert len(trajectory.steps) == 2


def test_a_bug_of_a_model_is_named_with_its_role_and_kind() -> None:
    def judge(request: object) -> float:
        raise ZeroDivisionError("oops")

    trajectory = drive(RSD()(PROBLEM), models(reward=judge))
    assert trajectory.error == "the reward model failed: ZeroDivisionError: oops"


def test_a_missing_model_is_in_the_trajectory() -> None:
    trajectory = drive(Single(Role.DRAFT)(PROBLEM), Models())
    assert trajectory.stop_reason is FinishReason.ERROR
    assert "--draft" in (trajectory.error or "")


def test_a_model_that_gives_too_few_replies_fails_its_problem() -> None:
    class Short(ScriptedModel):
        async def generate(self, requests: object) -> list[object]:
            return []

    trajectory = drive(Single()(PROBLEM), Models(target=Short(twelve)))
    assert trajectory.stop_reason is FinishReason.ERROR
    assert "0 replies to 1 requests" in (trajectory.error or "")


def test_abandoning_before_and_after_the_first_request() -> None:
    fresh, started = RSD()(PROBLEM), RSD()(PROBLEM)
    next(started)
    for decoding in (fresh, started):
        trajectory = abandon(decoding, "enough")
        assert (trajectory.stop_reason, trajectory.error) == (FinishReason.CANCELLED, "enough")


def test_a_method_that_goes_on_after_its_end_is_a_bug() -> None:
    def stubborn() -> Decoding:
        while True:
            try:
                yield []
            except ConfigError:
                raise
            except Exception:  # noqa: BLE001 - the very thing that a method must not do
                continue

    with pytest.raises(RuntimeError, match=r"must return when it is cancelled \(enough\)"):
        abandon(stubborn(), "enough")


async def test_advance_runs_on_the_loop_that_is_there() -> None:
    both = await asyncio.gather(advance(RSD()(PROBLEM), ALWAYS), advance(RSD()(PROBLEM), ALWAYS))
    assert [len(trajectory.steps) for trajectory in both] == [12, 12]


def test_config_errors_of_models() -> None:
    with pytest.raises(ConfigError, match="--reward"):
        Models(draft=ScriptedModel(twelve)).reward_model()


async def test_drive_works_where_an_event_loop_is_running() -> None:
    """As in a notebook."""
    assert len(drive(RSD()(PROBLEM), ALWAYS).steps) == 12
