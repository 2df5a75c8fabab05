from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsdecode.core.types import (
    Context,
    FinishReason,
    Ledger,
    Message,
    Problem,
    Role,
    Segment,
    Step,
    Tokens,
    Trajectory,
    Usage,
)

COUNTS = st.integers(0, 1000)
SECONDS = st.integers(0, 1000).map(float)  # whole, so that sums are exact
USAGES = st.builds(Usage, *[COUNTS] * 4, SECONDS, *[COUNTS] * 5)
LEDGERS = st.builds(Ledger, USAGES, USAGES, USAGES)
ROLES = st.sampled_from(Role)


@given(USAGES, USAGES, USAGES)
def test_usage_adds_like_numbers(a: Usage, b: Usage, c: Usage) -> None:
    assert a + Usage() == a
    assert a + b == b + a
    assert (a + b) + c == a + (b + c)


def test_usage_adds_field_by_field() -> None:
    one = Usage(1, 2, 3, 4, 5.0, 6, 7, 8, 9, 10)
    other = Usage(10, 20, 30, 40, 50.0, 60, 70, 80, 90, 100)
    assert one + other == Usage(11, 22, 33, 44, 55.0, 66, 77, 88, 99, 110)


@given(LEDGERS, LEDGERS, LEDGERS)
def test_ledgers_add_like_numbers(a: Ledger, b: Ledger, c: Ledger) -> None:
    assert a + Ledger() == a
    assert a + b == b + a
    assert (a + b) + c == a + (b + c)


@given(LEDGERS, ROLES, ROLES, USAGES, USAGES)
def test_charging_is_adding_to_one_role(
    ledger: Ledger, role: Role, other: Role, a: Usage, b: Usage
) -> None:
    charged = ledger.charge(role, a)
    assert charged.of(role) == ledger.of(role) + a
    assert all(charged.of(r) == ledger.of(r) for r in Role if r is not role)
    assert charged == ledger + Ledger().charge(role, a)
    assert charged.charge(other, b) == ledger.charge(other, b).charge(role, a)


def test_a_problem_is_asked_in_a_conversation() -> None:
    problem = Problem.ask("2 + 2?", id="q", answer="4", system="Be brief.")
    assert problem.messages == (Message("system", "Be brief."), Message("user", "2 + 2?"))
    assert (problem.id, problem.answer, problem.question) == ("q", "4", "2 + 2?")
    assert Problem.ask("x").messages == (Message("user", "x"),)


def test_the_question_is_the_last_thing_that_the_user_said() -> None:
    messages = (Message("user", "a"), Message("assistant", "b"), Message("user", "c"))
    assert Problem("0", messages).question == "c"
    assert Context(messages).question == "c"
    assert Problem("0", (Message("system", "s"),)).question == ""


def test_token_ids_are_only_for_their_own_vocabulary() -> None:
    segment = Segment("ab", Tokens("qwen", (1, 2)))
    assert segment.ids_in("qwen") == (1, 2)
    assert segment.ids_in("gemma") is None
    assert Segment("ab").ids_in("qwen") is None


def test_a_context_grows_without_changing() -> None:
    context = Context((Message("user", "q"),), (Segment("a"),))
    assert context.followed_by(Segment("b"), Segment("c")).answer == tuple(map(Segment, "abc"))
    assert context.answer == (Segment("a"),)


def step(text: str, *, accepted: bool) -> Step:
    source = Role.DRAFT if accepted else Role.TARGET
    return Step(Segment(text), source, FinishReason.STOP, accepted=accepted)


def test_what_a_trajectory_tells() -> None:
    steps = (step("a\n\n", accepted=True), step("b\n\n", accepted=False))
    trajectory = Trajectory(Problem.ask("q"), (*steps, step("c", accepted=True)), FinishReason.EOS)
    assert trajectory.text == "a\n\nb\n\nc"
    assert trajectory.acceptance_rate == pytest.approx(2 / 3)
    assert Trajectory(Problem.ask("q"), (), FinishReason.EOS).acceptance_rate is None


@pytest.mark.parametrize("reason", FinishReason)
def test_only_an_end_by_the_model_is_an_answer(reason: FinishReason) -> None:
    assert Trajectory(Problem.ask("q"), (), reason).finished == (reason == "eos")


def test_the_set_of_finish_reasons_is_closed() -> None:
    assert set(FinishReason) == {
        "stop",
        "eos",
        "step_limit",
        "length",
        "max_steps",
        "cancelled",
        "error",
        "budget",
        "repeated",
    }
