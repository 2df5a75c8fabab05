from __future__ import annotations

from pathlib import Path

import pytest

from rsdecode import RSD, Problem, Role, Single
from rsdecode.backends.scripted import ScriptedModel, ScriptedReward
from rsdecode.core.cost import ModelShape
from rsdecode.core.protocols import Models
from rsdecode.core.requests import Generate, Sampling, Score
from rsdecode.evals.evaluate import Result, evaluate
from rsdecode.evals.memory import remembering
from rsdecode.evals.plots import SweepPoint, draw_frontier

PROBLEMS = [Problem.ask(f"What is {i} + 1?", id=str(i), answer=str(i + 1)) for i in range(8)]
SHAPE = ModelShape(parameters=100)


class Counted:
    """Draft, target and reward that count how often they are asked.

    The draft is wrong on odd numbers, the target on 6 alone; the reward sees through the draft.
    """

    def __init__(self) -> None:
        self.asked = 0

    def models(self) -> Models:
        return Models(
            ScriptedModel(self.draft, shape=ModelShape(parameters=10)),
            ScriptedModel(self.target, shape=SHAPE),
            ScriptedReward(self.reward, shape=ModelShape(parameters=5)),
        )

    def draft(self, request: Generate) -> str:
        self.asked += 1
        number = int(request.context.question.split()[2])
        return f"\\boxed{{{number + 1 + number % 2}}}"

    def target(self, request: Generate) -> str:
        self.asked += 1
        number = int(request.context.question.split()[2])
        return f"It is \\boxed{{{number + 1 + (number == 6)}}}"

    def reward(self, request: Score) -> float:
        self.asked += 1
        return 0.4 if int(request.context.question.split()[2]) % 2 else 0.8


async def test_a_result_by_hand() -> None:
    models = Counted().models()
    result = await evaluate("rsd", RSD(), models, PROBLEMS, concurrency=3)
    assert result.correct == [True] * 8  # the draft's even ones, the target's odd ones
    assert [g.trajectory.problem.id for g in result.graded] == [str(i) for i in range(8)]
    assert result.acceptance_rate == 0.5
    assert result.tokens["draft"] == 8 * 2
    assert result.tokens["target"] == 4 * 4
    paper = 2 * (10 * 16 + 100 * 16 + 5 * result.tokens["reward"])
    assert result.flops.paper == paper
    record = result.as_record()
    assert record["accuracy"] == 1.0
    assert record["accuracy_low"] < 1.0
    assert record["truncation_rate"] == 0.0


async def test_single_models_have_no_acceptance_rate() -> None:
    models = Counted().models()
    draft = await evaluate("draft", Single(Role.DRAFT), models, PROBLEMS)
    target = await evaluate("target", Single(Role.TARGET), models, PROBLEMS)
    assert draft.correct == [True, False] * 4
    assert sum(target.correct) == 7
    assert draft.acceptance_rate is None
    assert target.flops.paper == 2 * 100 * target.tokens["target"]


async def test_a_memory_gives_the_same_results_for_less() -> None:
    plain, counted = Counted(), Counted()
    shared = remembering(counted.models())
    for delta in (0.0, 0.5, 0.9, 0.5):
        method = RSD(weighting=lambda reward, delta=delta: float(reward >= delta))
        expected = await evaluate("rsd", method, plain.models(), PROBLEMS)
        result = await evaluate("rsd", method, shared, PROBLEMS)
        assert [g.trajectory.text for g in result.graded] == [
            g.trajectory.text for g in expected.graded
        ]
        assert result.flops == expected.flops
    assert counted.asked == 24  # each of 8 problems: one draft, one score, one target
    assert plain.asked > 2 * counted.asked


async def test_sampled_requests_are_never_remembered() -> None:
    counted = Counted()
    method = Single(Role.DRAFT, sampling=Sampling(1.0))
    shared = remembering(counted.models())
    for seed in (0, 1):
        await evaluate("draft", method, shared, PROBLEMS, seed=seed)
    assert counted.asked == 16


async def test_the_picture_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    models = Counted().models()
    methods: list[Result] = [
        await evaluate("draft", Single(Role.DRAFT), models, PROBLEMS),
        await evaluate("target", Single(Role.TARGET), models, PROBLEMS),
        await evaluate("rsd", RSD(), models, PROBLEMS),
    ]
    path = tmp_path / "new" / "picture.png"
    draw_frontier(methods, [SweepPoint(0.7, methods[2])], path)
    assert path.read_bytes().startswith(b"\x89PNG")


async def test_no_problems() -> None:
    with pytest.raises(ValueError, match="no problems"):
        await evaluate("rsd", RSD(), Counted().models(), [])
