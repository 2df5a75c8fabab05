"""`rsd plan` from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rsdecode.capacity.service_times import Measured, ServiceTimes
from rsdecode.capacity.traces import Work
from rsdecode.cli.main import main
from rsdecode.core.types import Role

TIMES = ServiceTimes(((1, 0.01), (2, 0.02)), 0.01, 0.0001, 0.0, 32)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    trace = ((Work(Role.DRAFT, 40, 10),), (Work(Role.REWARD, 40, 0),), (Work(Role.TARGET, 40, 30),))
    about = {"draft": "abacus:draft", "target": "abacus:target"}
    path = tmp_path / "times.json"
    Measured(dict.fromkeys(Role, TIMES), (trace,), about).save(path)
    return path


def test_a_plan_from_a_file(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["plan", "--rate", "5", "--latency", "2", "--measured", str(file), "--json"])
    assert code == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["bottleneck"] == "target"
    assert plan["replicas"]["target"] >= 2
    assert plan["gpus"] == sum(plan["replicas"].values())
    assert plan["latency_p95_s"] <= 2


def test_a_table(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "run.yaml"
    config.write_text("ray: {draft: {gpus: 0.25}, reward: {gpus: 0.25}, target: {gpus: 0.5}}")
    arguments = ["plan", "--rate", "1", "--latency", "5", "--measured", str(file)]
    assert main([*arguments, "--config", str(config)]) == 0
    out = capsys.readouterr().out
    assert "GPUs in all: 1." in out
    assert "the target is the bottleneck" in out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--rate", "0", "--latency", "1"], "--rate 0: must be a number above 0"),
        (["--rate", "1", "--latency", "0.1"], "--latency 0.1: a problem that is alone takes up to"),
        (["--rate", "1", "--latency", "1", "--measured", "/nowhere"], "--measured /nowhere"),
        (["--rate", "1", "--latency", "1", "--save", "no/x.json"], "--save no/x.json: there is no"),
    ],
)
def test_bad_input(
    arguments: list[str], told: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = arguments if "--measured" in arguments else [*arguments, "--measured", str(file)]
    assert main(["plan", *given]) == 2
    assert told in capsys.readouterr().err


def test_samples_of_a_configuration_are_not_planned_for(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.yaml").write_text("run: {samples: 3}")
    given = ["plan", "--rate", "1", "--latency", "5", "--measured", str(file)]
    assert main([*given, "--config", str(tmp_path / "run.yaml")]) == 0
    warnings = [line for line in capsys.readouterr().err.splitlines() if "warning: samples" in line]
    assert warnings == [
        "warning: samples 3 has no effect here: --rate counts answers, each to a problem of its own"
    ]
