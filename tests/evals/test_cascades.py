"""Bounds of a cascade, by hand and by brute force."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rsdecode.cli.main import main
from rsdecode.config import load_config
from rsdecode.core.requests import Failed
from rsdecode.evals.cascades import BothRewards, Bounds, Cascades, Pair, bounds_for, cascade_for
from rsdecode.evals.tune import NoWorse, Outcome, Point, TargetCalls
from rsdecode.rewards.arithmetic import ArithmeticReward
from rsdecode.rewards.function import FunctionReward
from tests.rewards import tiny

PAIRS = [
    Pair(*each)
    for each in [(0.1, 0.0), (0.2, 0.1), (0.4, 0.9), (0.5, 0.2), (0.7, 0.8), (0.8, 0.3), (0.9, 1.0)]
]


def test_bounds_by_hand() -> None:
    assert bounds_for(PAIRS, 0.5, 0.0) == Bounds(0.3, 0.9)
    assert bounds_for(PAIRS, 0.5, 0.0).asks(PAIRS) == pytest.approx(4 / 7)
    assert bounds_for(PAIRS, 0.5, 0.34) == Bounds(0.6, 0.6), "a third of either side may be wrong"
    assert bounds_for(PAIRS, 0.0, 0.0) == Bounds(0.0, 0.0), "all are accepted"
    assert bounds_for(PAIRS, 1.01, 0.0) == Bounds(1.0, 1.0), "none is"


shares = st.integers(0, 8).map(lambda n: n / 8)


@given(st.lists(st.builds(Pair, shares, shares), min_size=1, max_size=12), shares, shares)
@example([Pair(0.0, 0.0), Pair(0.0, 0.125), Pair(1.0, 0.0)], 0.125, 0.375)
def test_clear_cases_are_decided_as_the_second_would(
    pairs: list[Pair], threshold: float, share: float
) -> None:
    low, high = bounds_for(pairs, threshold, share)
    assert 0.0 <= low <= high <= 1.0
    below = [pair.second >= threshold for pair in pairs if pair.first < low]
    above = [pair.second < threshold for pair in pairs if pair.first >= high]
    assert sum(below) <= share * len(below)
    assert high == 1.0 or sum(above) <= share * len(above)


async def test_both_rewards_are_noted() -> None:
    both = BothRewards(ArithmeticReward(), FunctionReward(lambda question, steps: 0.25))
    asked = tiny.request("q", [], ["1 + 1 = 2.", "1 + 1 = 3."])
    [reply] = await both.score([asked])
    assert not isinstance(reply, Failed)
    assert reply.rewards == (0.25, 0.25)
    assert both.pairs == [Pair(1.0, 0.25), Pair(0.0, 0.25)]


async def searched(wanted: float) -> tuple[Cascades, list[Bounds]]:
    """Cascades of which those meet the goal that ask the second about enough steps."""
    tried: list[Bounds] = []

    async def run(bounds: Bounds) -> Point:
        tried.append(bounds)
        by_target = 0 if bounds.asks(pairs) >= wanted else 1
        return Point(0.5, [Outcome("0", True, 1, by_target, 1.0)], [Outcome("0", True, 1, 1, 1.0)])

    draw = random.Random(1)
    firsts = [draw.random() for _ in range(400)]
    pairs = [Pair(first, float(draw.random() < first)) for first in firsts]
    return await cascade_for(TargetCalls(0.5), pairs, 0.5, run), tried


async def test_the_widest_clear_cases_that_meet_the_goal_are_taken() -> None:
    found, tried = await searched(0.0)
    assert found.met
    assert tried == [found.chosen.bounds]
    found, tried = await searched(0.8)
    assert found.met
    assert len(tried) > 1
    assert found.chosen is found.tried[-1]
    asked = [each.asked for each in found.tried]
    assert asked == sorted(asked), "the second is asked more and more"
    found, _ = await searched(2.0)
    assert not found.met


def test_more_tries_are_tested_more_strictly() -> None:
    assert NoWorse(tests=22).z > NoWorse().z


def test_the_command_sets_bounds_and_threshold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    options = ["--reward", "cascade:confidence:draft,abacus:prm", "--limit", "12", "--json"]
    code = main(["tune", "--target-calls", "0.4", "--out", "t.yaml", *options])
    told = json.loads(capsys.readouterr().out)
    assert code == (0 if told["met"] else 1)
    low, high = told["chosen"]["bounds"]
    config = load_config(tmp_path / "t.yaml")
    assert config.reward.bounds == (low, high)
    assert config.weighting.threshold == told["chosen"]["threshold"]
    assert told["cascades"][-1]["asked"] < 1.0
    assert main(["solve", "--config", "t.yaml", "Ada has 3 apples. Ada gets 4 more apples. "
                 "How many apples does Ada have in the end?"]) == 0  # fmt: skip


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--config", "c.yaml"], "reward.calibration"),
        (["--thinking-gate", "confidence:draft"], "thinking.gate"),
    ],
)
def test_what_was_made_for_bounds_is_refused(
    more: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.yaml").write_text("reward: {calibration: c.json}\n")
    spec = ["--reward", "cascade:confidence:draft,abacus:prm"]
    assert main(["tune", "--target-calls", "0.4", *spec, *more]) == 2
    assert said in capsys.readouterr().err
