"""Labels in a world where it is known which steps are right: completions end right or wrong."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from rsdecode.core.errors import ConfigError
from rsdecode.core.segment import Boundary
from rsdecode.core.types import Ledger, Problem, Role
from rsdecode.methods import Method
from rsdecode.training.continuations import Continuations
from rsdecode.training.label_settings import LabelMethod, LabelSettings
from rsdecode.training.labeller import Asked, Labelled, Labeller, Sampled, right_beginnings

PROBLEM = Problem.ask("What?", id="p", answer="1")
LINES = Boundary(("\n",))


@dataclass
class World:
    """Completions end right with probability `skill` while no step of their beginning is wrong."""

    skill: float = 0.8
    completions: int = 0
    waves: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    failing: bool = False

    async def ask(self, problem: Problem, method: Method, sample: int, priority: int) -> Asked:
        assert isinstance(method, Continuations)
        if self.failing:
            return Asked((), Ledger(), error="no such server")
        self.completions += method.count
        self.waves.append((len(method.prefix), method.count))
        texts = [
            "end 1" if self._is_right(method, number) else "end 0"
            for number in range(method.first, method.first + method.count)
        ]
        return Asked(tuple((text, True) for text in texts), Ledger())

    def _is_right(self, method: Continuations, number: int) -> bool:
        draw = random.Random(f"{method.prefix} {number}").random()
        return all("wrong" not in step for step in method.prefix) and draw < self.skill

    async def grade(self, text: str, reference: str) -> bool:
        return text.endswith(reference)


def solution(count: int, first_wrong: int | None, *, given: int = 0) -> Sampled:
    wrong = count if first_wrong is None else first_wrong
    steps = tuple(f"{'right' if i < wrong else 'wrong'} {i}\n" for i in range(count))
    right = first_wrong is None
    return Sampled(0, Role.DRAFT, 1.0, steps, given, True, right, Ledger())


def settings(method: LabelMethod, **changes: Any) -> LabelSettings:
    return LabelSettings(method, boundary=LINES, **changes)


async def labelled(world: World, chosen: LabelSettings, sampled: Sampled) -> Labelled:
    return await Labeller(chosen, world.ask, world.grade, 0).label(PROBLEM, sampled)


@pytest.mark.parametrize("method", [LabelMethod.ROLLOUTS, LabelMethod.BISECT])
@pytest.mark.parametrize("first_wrong", [None, 0, 1, 3, 5])
async def test_the_first_wrong_step_is_found(method: LabelMethod, first_wrong: int | None) -> None:
    found = await labelled(World(), settings(method), solution(6, first_wrong))
    end = 6 if first_wrong is None else first_wrong
    assert [step.right for step in found.steps] == [i < end for i in range(6)]
    assert found.error is None


async def test_bisection_needs_at_most_half_of_the_completions_of_rollouts() -> None:
    spent = dict.fromkeys((LabelMethod.ROLLOUTS, LabelMethod.BISECT), 0)
    for every in (False, True):
        for method in spent:
            world = World()
            for count in range(2, 9):
                for first_wrong in [*range(count), None]:
                    chosen = settings(method, every=every)
                    found = await labelled(world, chosen, solution(count, first_wrong))
                    end = count if first_wrong is None else first_wrong
                    assert [s.right for s in found.steps] == [i < end for i in range(count)]
            spent[method] = world.completions
        assert spent[LabelMethod.BISECT] <= spent[LabelMethod.ROLLOUTS] / 2


async def test_completions_stop_when_the_interval_is_clear() -> None:
    world = World(skill=1.0)
    found = await labelled(world, settings(LabelMethod.ROLLOUTS), solution(4, 2))
    assert [step.completions for step in found.steps] == [(1, 1), (1, 1), (0, 8), (0, 1)]
    assert sorted(world.waves) == [(1, 1), (2, 1), (3, 1), (3, 1), (3, 2), (3, 4)]
    assert found.written == 10
    world = World(skill=1.0)
    found = await labelled(world, settings(LabelMethod.ROLLOUTS, every=True), solution(4, 2))
    assert [step.completions for step in found.steps] == [(8, 8), (8, 8), (0, 8), (0, 1)]
    assert [step.soft for step in found.steps] == [1.0, 1.0, 0.0, 0.0]


async def test_a_step_from_which_a_later_one_ends_right_is_right() -> None:
    """Bad luck at one step is mended by what follows it."""
    world = World(skill=0.3)
    chosen = settings(LabelMethod.ROLLOUTS, completions=2)
    found = await labelled(world, chosen, solution(8, 6))
    assert [step.right for step in found.steps] == [True] * 6 + [False] * 2
    assert (0, 2) in [step.completions for step in found.steps[:6]]  # or the test shows nothing


async def test_given_steps_are_right_and_cost_nothing() -> None:
    for method in (LabelMethod.ROLLOUTS, LabelMethod.BISECT):
        world = World()
        found = await labelled(world, settings(method), solution(6, 4, given=3))
        assert [step.right for step in found.steps] == [True] * 4 + [False] * 2
        assert min(place for place, _ in world.waves) > 3


async def test_outcome_labels_all_steps_alike_and_writes_nothing() -> None:
    world = World()
    found = await labelled(world, settings(LabelMethod.OUTCOME), solution(3, 1))
    assert [step.right for step in found.steps] == [False] * 3
    assert world.completions == 0


async def test_a_failed_request_fails_its_solution() -> None:
    found = await labelled(World(failing=True), settings(LabelMethod.BISECT), solution(3, 1))
    assert found.error == "no such server"
    assert found.steps == ()


async def test_nobody_gets_it_right() -> None:
    chosen = settings(LabelMethod.ROLLOUTS)
    assert not (await Labeller(chosen, World(0.0).ask, World().grade, 0).solvable(PROBLEM))[0]
    world = World(0.5)
    assert (await Labeller(chosen, world.ask, world.grade, 0).solvable(PROBLEM))[0]
    assert world.completions < 8  # one that is right is enough


async def test_beginnings_are_right_and_never_the_whole_answer() -> None:
    chosen = settings(LabelMethod.ROLLOUTS)
    known = [await labelled(World(), chosen, solution(4, wrong)) for wrong in (None, 0, 2)]
    assert [len(steps) for steps in right_beginnings(known)] == [3, 2]
    world, seen = World(), set[Sequence[str]]()
    for seed in range(20):
        labeller = Labeller(chosen, world.ask, world.grade, seed)
        for one in await labeller.continued(PROBLEM, known, range(2, 4)):
            assert isinstance(one, Sampled)
            assert all("wrong" not in step for step in one.steps[: one.given])
            assert 1 <= one.given <= 3
            seen.add(one.steps[: one.given])
    assert len(seen) == 3  # beginnings of one, two and three right steps


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"completions": 0}, "--completions 0"),
        ({"share": 1.0}, "--right-share 1"),
        ({"temperatures": (0.0,)}, "greedy solutions"),
        ({"temperatures": ()}, "--temperatures"),
        ({"completion_temperature": 0.0}, "--rollout-temperature 0"),
        ({"writers": ()}, "--writers"),
    ],
)
def test_settings_that_make_no_sense(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LabelSettings(**changes)


def test_the_verdict_is_clear_or_waits() -> None:
    chosen = LabelSettings()
    assert chosen.verdict(0, 0) is None
    assert chosen.verdict(1, 1) is True
    assert chosen.verdict(0, 4) is None
    assert chosen.verdict(0, 8) is False
    assert chosen.verdict(1, 8) is True
    assert LabelSettings(share=0.5).verdict(0, 4) is False
    assert LabelSettings(share=0.5, every=True).verdict(0, 4) is None
    assert LabelSettings(completions=5).waves() == [1, 1, 2, 1]
    assert LabelSettings(every=True).waves() == [8]
