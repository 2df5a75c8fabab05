from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import yaml

from rsdecode.config import load_config
from rsdecode.config.build import ModelBuilder
from rsdecode.core.errors import ConfigError
from rsdecode.evals import fitting
from rsdecode.rewards.calibrated import CalibratedReward, read_calibration

from .conftest import Rsd

GOOD, BAD = "1 + 1 = 2.", "1 + 1 = 3."


def labelled(folder: Path, *, process_bench: bool) -> Path:
    """30 solutions; the arithmetic reward knows all wrong steps, and half of the right ones."""
    file = folder / "steps.jsonl"
    lines: list[dict[str, Any]] = []
    for i in range(30):
        steps = [GOOD, BAD if i % 3 == 0 else GOOD, GOOD]
        label = 1 if i % 3 == 0 else -1
        right = [True, label < 0, label < 0]
        trl = {"prompt": f"q{i}", "completions": steps, "labels": right}
        bench = {"problem": f"q{i}", "steps": steps, "label": label}
        lines.append(bench if process_bench else trl)
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


@pytest.mark.parametrize("process_bench", [False, True])
def test_labelled_steps_make_a_configuration_that_other_commands_use(
    rsd: Rsd, tmp_path: Path, process_bench: bool
) -> None:
    data, out = labelled(tmp_path, process_bench=process_bench), tmp_path / "c.yaml"
    result = rsd(
        *("calibrate", "--reward", "arithmetic", "--data", data, "--out", out, "--json"),
        *("--picture", tmp_path / "r.svg"),
    )
    assert result.code == 0, result
    told = json.loads(result.out)
    assert told["steps"] == 30 * 3 - 10, "what follows a wrong step is left out"
    assert told["error_after"] <= told["error_before"] + 1e-9
    assert "few" in result.err
    assert (tmp_path / "r.svg").stat().st_size > 1000
    config = load_config(out)
    assert config.reward.calibration == str(tmp_path / "c.calibration.json")
    assert yaml.safe_load(out.read_text())["reward"]["spec"] == "arithmetic"
    reward = ModelBuilder(config).reward()
    assert isinstance(reward, CalibratedReward)
    found = read_calibration(config.reward.calibration, "arithmetic")
    assert found.probability(0.0) == pytest.approx(0.0, abs=0.01)
    assert found.probability(1.0) == pytest.approx(1.0, abs=0.01)
    assert "calibrated" in reward.describe()


def test_problems_with_answers_are_solved_by_the_draft(rsd: Rsd, tmp_path: Path) -> None:
    out = tmp_path / "c.yaml"
    result = rsd("calibrate", "--reward", "confidence:draft", "--limit", 24, "--out", out)
    assert result.code == 0, result
    assert "calibration error" in result.out
    assert read_calibration(tmp_path / "c.calibration.json").probability(0.0) < 0.5
    solved = rsd("solve", "--config", out, "--json", "Ada has 3 apples. Ada gets 4 more apples. "
                 "How many apples does Ada have in the end?")  # fmt: skip
    assert solved.code == 0, solved


def test_a_stored_evaluation_is_read_and_nobody_writes(rsd: Rsd, tmp_path: Path) -> None:
    method = ("--methods", "draft,rsd@0", "--limit", 12, "--out", tmp_path / "runs")
    assert rsd("eval", "--reward", "confidence:draft", *method, "--data", "abacus:test").code == 0
    where = ("calibrate", "--data", tmp_path / "runs", "--json", "--limit", 24)
    cells = [p for p in (tmp_path / "runs" / "cells").glob("*.jsonl") if "rsd" in p.name]
    stored = [json.loads(line) for line in cells[0].read_text().splitlines()]
    own = [step["reward"] for record in stored for step in record["steps"]]

    taken = rsd(*where, "--reward", "confidence:draft", "--out", tmp_path / "a.yaml")
    assert taken.code == 0, taken
    assert json.loads(taken.out)["steps"] == sum(reward is not None for reward in own)

    read = rsd(*where, "--reward", "abacus:prm", "--out", tmp_path / "b.yaml")
    assert read.code == 0, read
    assert json.loads(read.out)["steps"] > len(own), "the draft's answers too, step by step"
    assert json.loads(read.out)["error_after"] < json.loads(read.out)["error_before"] + 1e-9

    unknown = rsd(*where, "--reward", "confidence:draft:min", "--out", tmp_path / "c.yaml")
    assert unknown.code == 2
    assert "has judged none there" in unknown.err
    (tmp_path / "empty").mkdir()
    empty = rsd("calibrate", "--data", tmp_path / "empty", "--reward", "abacus:prm")
    assert empty.code == 2
    assert "holds no results of rsd eval" in empty.err


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ('{"labels": [true], "prompt": "q"}', "line 1: no labelled solution"),
        ('{"labels": [true], "prompt": "q", "completions": []}', "1 labels for 0 steps"),
        ('{"labels": [true], "prompt": "q", "completions": ["1 = 1."]}', "needs both kinds"),
    ],
)
def test_data_that_is_of_no_use(rsd: Rsd, tmp_path: Path, line: str, part: str) -> None:
    (tmp_path / "d.jsonl").write_text(line + "\n")
    result = rsd("calibrate", "--reward", "arithmetic", "--data", tmp_path / "d.jsonl")
    assert result.code == 2
    assert part in result.err
    assert "Traceback" not in result.err


def test_a_calibration_of_another_reward_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "c.json"
    file.write_text('{"reward": "agreement", "readings": [0, 1], "probabilities": [0, 1]}')
    config = load_config(overrides={"reward.spec": "arithmetic", "reward.calibration": str(file)})
    with pytest.raises(ConfigError, match="fitted to agreement, but the reward is arithmetic"):
        ModelBuilder(config).reward()
    for text, part in (("{}", "is no calibration"), ("[", "is no calibration")):
        file.write_text(text)
        with pytest.raises(ConfigError, match=part):
            read_calibration(file)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_calibration(tmp_path / "nothing.json")


def test_a_picture_that_cannot_be_written_is_told_first(rsd: Rsd, tmp_path: Path) -> None:
    given = ("calibrate", "--reward", "arithmetic", "--data", "no.jsonl")
    (tmp_path / "file").touch()
    for picture in ("reliability", "file/reliability.svg"):
        result = rsd(*given, "--picture", picture)
        assert result.code == 2
        assert result.err.startswith(f"error: --picture {picture}: ")


@pytest.mark.parametrize("how", ["isotonic", "platt"])
def test_a_fit_finds_the_curve_that_made_the_labels(how: Any) -> None:
    draw = random.Random(1)
    rewards = [draw.random() for _ in range(6000)]

    def truth(reward: float) -> float:
        odds = (reward / (1 - reward)) ** 2 * 0.3
        return odds / (1 + odds)

    right = [draw.random() < truth(reward) for reward in rewards]
    found = fitting.fit(how, rewards, right)
    for reward in (0.2, 0.4, 0.6, 0.8):
        assert found.probability(reward) == pytest.approx(truth(reward), abs=0.06)
    assert fitting.error(found.all(rewards), right) < 0.02 < fitting.error(rewards, right)


def test_a_reward_that_is_upside_down_is_refused() -> None:
    rewards = [0.1, 0.2, 0.8, 0.9] * 20
    with pytest.raises(ConfigError, match="no higher rewards than wrong ones"):
        fitting.fit("platt", rewards, [r < 0.5 for r in rewards])
