from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.training.labels import rows, write_folder

from .conftest import Rsd, write_lines

JUDGES = """
def exact(question, steps):
    return 0.1 if any("left" in step for step in steps) else 0.9

def blind(question, steps):
    return 0.6

def broken(question, steps):
    return 2.0
"""


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    (tmp_path / "judges.py").write_text(JUDGES)
    return write_folder(tmp_path / "labels", held_out=60)


def test_reward_models_side_by_side(rsd: Rsd, labels: Path, tmp_path: Path) -> None:
    result = rsd(
        "prm", "test", "--data", labels, "--reward", "python:judges:exact",
        "--against", "python:judges:blind", "--out", "report", "--json",
    )  # fmt: skip
    assert result.code == 0, result.err
    [exact, blind] = result.records[0]["rewards"]
    assert exact["area_under_roc"]["estimate"] == 1.0
    assert exact["first_errors"]["f1"] == 1.0
    assert blind["area_under_roc"]["estimate"] == 0.5
    assert blind["first_errors"]["f1"] == 0.0  # it never finds an error
    assert exact["calibration_error"] == pytest.approx(0.1)
    assert exact["solutions"] == 60
    assert sum(place["steps"] for place in exact["by_place"]) == exact["steps"]
    page, text = ((tmp_path / "report" / name).read_text() for name in ("prm.html", "prm.md"))
    for shown in (page, text):
        assert "python:judges:blind" in shown.replace("\\", "")
        assert "1.000" in shown
    assert page.count("<svg") == 2
    assert 'src="http' not in page
    assert "prm-reliability.svg" in text
    assert json.loads((tmp_path / "report/prm.json").read_text())["rewards"][0]["reward"]
    assert "report/prm.json" in result.err.splitlines()


def test_public_layouts_and_kinds_of_error(rsd: Rsd, labels: Path, tmp_path: Path) -> None:
    benchmark = [
        {
            "idx": f"b{n}",
            "original_question": "How many?",
            "modified_process": row["completions"],
            "error_steps": [at + 1 for at, ok in enumerate(row["labels"]) if not ok],
            "classification": "confidence" if n % 2 else "domain",
        }
        for n, row in enumerate(rows(20))
    ]
    write_lines(tmp_path / "bench.jsonl", *benchmark, "nonsense")
    result = rsd("prm", "test", "--data", "bench.jsonl", "--reward", "python:judges:exact")
    assert result.code == 1  # a line could not be read
    assert "bench.jsonl, line 21: not JSON" in result.err
    assert "20 solutions (PRMBench)" in result.err
    for words in ("Area under ROC by the step's place", "kind of error", "confidence", "domain"):
        assert words in result.out


def test_what_cannot_be_measured(rsd: Rsd, labels: Path, tmp_path: Path) -> None:
    broken = rsd("prm", "test", "--data", labels, "--reward", "python:judges:broken")
    assert broken.code == 2
    assert "a reward must be a finite number in [0, 1]" in broken.err
    missing = rsd("prm", "test", "--data", "nowhere.jsonl", "--reward", "python:judges:exact")
    assert (missing.code, "there is no such file" in missing.err) == (2, True)
    later = rsd("prm", "test", "--data", labels, "--reward", "python:judges:exact",
                "--against", "python:judges:nobody")  # fmt: skip
    assert (later.code, "no function 'nobody'" in later.err) == (2, True)
    assert "scored" not in later.err, "it is told before the first is measured"
    (tmp_path / "few").mkdir()
    (tmp_path / "few/validation.jsonl").touch()
    few = rsd("prm", "test", "--data", "few", "--reward", "python:judges:exact")
    assert "few/validation.jsonl: there is no labelled solution in it" in few.err
    (tmp_path / "empty").mkdir()
    empty = rsd("prm", "test", "--data", "empty", "--reward", "python:judges:exact")
    assert (empty.code, "has no validation.jsonl" in empty.err) == (2, True)
