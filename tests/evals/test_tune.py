from __future__ import annotations

import asyncio
import json
import math
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsdecode.cli.main import main
from rsdecode.config import load_config
from rsdecode.evals.tune import (
    TESTS,
    FlopsBudget,
    Goal,
    NoWorse,
    Outcome,
    Point,
    TargetCalls,
    Tuned,
    shortest_between,
    tune,
)
from rsdecode.results.stats import clustered_share, wilson

Problem = tuple[Sequence[float], bool, bool]
"""Rewards of the draft's steps; whether draft and target are right."""


class Bench:
    """RSD by formula: a step costs 1, and 9 more if it is rejected; the target costs 10."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = problems
        self.tried: list[float] = []
        self.alone = [
            Outcome(str(i), right, len(rewards), len(rewards), 10.0 * len(rewards))
            for i, (rewards, _, right) in enumerate(problems)
        ]

    async def run(self, threshold: float) -> Point:
        self.tried.append(threshold)
        outcomes: list[Outcome] = []
        for i, (rewards, draft, target) in enumerate(self.problems):
            rejected = sum(reward < threshold for reward in rewards)
            outcomes.append(
                Outcome(
                    str(i),
                    target if rejected else draft,
                    len(rewards),
                    rejected,
                    len(rewards) + 9.0 * rejected,
                    tuple(rewards),
                )
            )
        return Point(threshold, outcomes, self.alone)

    def find(self, goal: Goal) -> Tuned:
        return asyncio.run(tune(goal, self.run))


SPREAD: list[Problem] = [
    ([(7 * i + j) % 100 / 100 + 0.005 for j in range(4)], i % 4 > 0, i % 10 > 0) for i in range(100)
]


@pytest.mark.parametrize("budget", [0.1, 0.3, 0.55, 0.8])
def test_a_budget_of_target_calls_is_used_up(budget: float) -> None:
    bench = Bench(SPREAD)
    tuned = bench.find(TargetCalls(budget))
    assert tuned.met
    assert budget - 0.02 < tuned.chosen.target_calls.estimate <= budget
    assert len(bench.tried) <= TESTS
    thresholds = [point.threshold for point in tuned.points]
    assert thresholds == sorted(set(thresholds))


def test_a_budget_of_flops_is_used_up() -> None:
    tuned = Bench(SPREAD).find(FlopsBudget(0.5))
    relative = tuned.chosen.relative_flops
    assert relative is not None
    assert 0.48 < relative.estimate <= 0.5
    assert tuned.chosen.target_calls.estimate == pytest.approx((relative.estimate - 0.1) / 0.9)


def test_a_budget_that_cannot_be_met() -> None:
    tuned = Bench(SPREAD).find(FlopsBudget(0.05))
    assert not tuned.met
    assert tuned.chosen.threshold == 0.0


def test_rewards_near_one_are_told_apart() -> None:
    """Thresholds are sought among the rewards, not among the numbers from 0 to 1."""
    rewards = [1 - 10 ** -(2 + 6 * i / 400) for i in range(400)]
    bench = Bench([([reward], True, True) for reward in rewards])
    tuned = bench.find(TargetCalls(0.33))
    assert 0.31 < tuned.chosen.target_calls.estimate <= 0.33


def test_the_lowest_threshold_that_is_no_worse() -> None:
    problems: list[Problem] = [([0.3 if i % 5 == 0 else 0.8], i % 5 > 0, True) for i in range(400)]
    tuned = Bench(problems).find(NoWorse(0.95, 0.02))
    assert tuned.met
    assert 0.3 < tuned.chosen.threshold <= 0.8
    assert tuned.chosen.target_calls.estimate == 0.2


def test_too_few_problems_are_said_to_be_too_few() -> None:
    few = Bench(SPREAD[:20])
    doubt = TargetCalls(0.3).doubt(few.find(TargetCalls(0.3)).chosen)
    assert doubt is not None
    assert "from 20 problems" in doubt
    many = Bench(SPREAD * 20)
    assert TargetCalls(0.3).doubt(many.find(TargetCalls(0.3)).chosen) is None
    same: list[Problem] = [([0.5], True, True)] * 30
    goal = NoWorse(0.95, 0.02)
    tuned = Bench(same).find(goal)
    assert not tuned.met  # 30 problems on which the two agree do not show that they always do
    doubt = goal.doubt(tuned.chosen)
    assert doubt is not None
    needed = int(doubt.partition("about ")[2].split()[0])
    assert not Bench(same[:1] * (needed // 5)).find(goal).met
    assert Bench(same[:1] * needed).find(goal).met
    worse: list[Problem] = [([0.5], False, True)] * 30
    assert "allow more with --margin" in (goal.doubt(Bench(worse).find(goal).points[0]) or "")


def test_intervals_by_hand() -> None:
    outcomes = [Outcome("0", True, 4, 1, None), Outcome("1", False, 2, 2, None)]
    point = Point(0.5, outcomes, [Outcome("0", False, 4, 4, 1.0), Outcome("1", False, 2, 2, 1.0)])
    calls = point.target_calls
    assert calls.estimate == 0.5
    assert calls == clustered_share([(1, 4), (2, 2)])
    assert point.relative_flops is None
    difference = point.difference(1.0)
    assert difference.estimate == 0.5
    assert difference.high - difference.low == pytest.approx(2 * math.sqrt(2 - 1 / 4) / 4)


def test_samples_of_one_problem_are_one_cluster() -> None:
    ours = [Outcome("0", True, 3, 0, 1.0)] * 8
    point = Point(0.5, ours, [Outcome("0", False, 3, 3, 4.0)] * 8)
    once = Point(0.5, ours[:1], point.target[:1])
    assert point.accuracy == once.accuracy == wilson(1, 1)
    assert point.difference() == once.difference()
    assert point.target_calls == once.target_calls
    assert point.target_calls.high > 0.5  # no step of one problem: hardly anything is known
    assert point.relative_flops == once.relative_flops


@given(st.floats(0, 1), st.floats(0, 1))
def test_a_number_between(a: float, b: float) -> None:
    low, high = min(a, b), max(a, b)
    if low < high:
        assert low < shortest_between(low, high) <= high
    assert shortest_between(0.3, 0.8) in (0.5, 0.6)


SCRIPT = {
    "generate": {"*": ["A.\n\n", "B.\n\n", "\\boxed{4}."]},
    "score": {"*": [0.9, 0.2, 0.8]},
}


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.json").write_text(json.dumps(SCRIPT))
    lines = [json.dumps({"question": f"q{i}", "answer": "4"}) for i in range(5)]
    (tmp_path / "q.jsonl").write_text("\n".join(lines))
    model = f"scripted:{tmp_path}/m.json"
    models = ["--draft", model, "--target", model, "--reward", model]
    return ["tune", "--data", "q.jsonl", *models, "--out", "tuned.yaml"]


def test_the_command(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*options, "--target-calls", "0.4", "--json"]) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert found["met"] is True
    assert found["chosen"]["target_calls"]["estimate"] == pytest.approx(1 / 3)
    assert 0.2 < found["chosen"]["threshold"] <= 0.8
    assert "threshold 0: " in err
    config = load_config("tuned.yaml")
    assert config.weighting.threshold == found["chosen"]["threshold"]
    assert Path("tuned.yaml").read_text().startswith("# rsd tune --target-calls 0.4 on q.jsonl")
    assert main(["solve", "q", "--config", "tuned.yaml", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["steps"][1]["source"] == "target"


def test_a_goal_that_is_not_met_has_a_code_of_its_own(
    options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*options, "--no-worse-than-target"]) == 1
    out, err = capsys.readouterr()
    assert "no threshold meets --no-worse-than-target" in err
    assert "<-" in out
    assert Path("tuned.yaml").exists()


@pytest.mark.parametrize(
    ("goal", "message"),
    [
        ([], "give one goal"),
        (["--flops", "0.5", "--target-calls", "0.3"], "give one goal"),
        (["--flops", "0.5"], "a model's shape is not known"),
        (["--target-calls", "0.5", "--margin", "1"], "--margin 1 belongs to"),
        (["--no-worse-than-target", "--confidence", "1"], "--confidence 1 must be"),
        (["--target-calls", "0.3", "--method", "draft"], "has no threshold"),
        (["--target-calls", "0.3", "--budget", "0.2"], "without a budget"),
        (["--target-calls", "0.3", "--out", "no/where.yaml"], "there is no folder"),
    ],
)
def test_bad_goals(
    options: list[str], goal: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*options, *goal]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.skipif("RSD_SLOW" not in os.environ, reason="two minutes; set RSD_SLOW=1")
@pytest.mark.parametrize("budget", [0.2, 0.35, 0.5])
def test_the_embedded_family_keeps_to_a_budget_on_other_problems(
    budget: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The threshold found on one set of problems, on another one of the same kind."""
    pytest.importorskip("torch")
    out = tmp_path / "tuned.yaml"
    common = ["--json", "--concurrency", "64", "--slots", "64"]
    goal = ["--target-calls", str(budget), "--limit", "200", "--out", str(out)]
    assert main(["tune", *goal, *common]) == 0
    capsys.readouterr()
    held = ["solve", "--config", str(out), "--input", "abacus:test", "--limit", "200", *common]
    assert main(held) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    steps = [step for record in records for step in record["steps"]]
    share = sum(step["source"] == "target" for step in steps) / len(steps)
    assert abs(share - budget) <= 0.03
