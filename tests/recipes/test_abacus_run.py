"""The tiny configuration, whole: killed half-way, resumed, and the same as an unbroken run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

ROOT = Path(__file__).parents[2]


def start(out: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-u", "-m", "recipes.abacus", "--out", str(out), "--config", "tiny"]
    paths = [str(ROOT / "src"), str(ROOT)]
    return subprocess.Popen(
        [*command, "--jobs", "1"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def kill_once(out: Path, file: str) -> None:
    """Start the recipe and kill it as soon as a file is there."""
    process = start(out)
    deadline = time.monotonic() + 300
    while not (out / file).exists():
        assert time.monotonic() < deadline, "timed out"
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "evaluation.json").exists()


def finish(out: Path) -> str:
    process = start(out)
    output = process.communicate(timeout=600)[0]
    assert process.returncode == 0, output
    return output


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """An unbroken run, and one that was killed in the first training and while labelling.

    The second ends with its models, whose evaluation would be that of the first, byte for byte.
    """
    whole, broken = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("broken")
    finish(whole)
    for file in ("target.pt", "draft-train.jsonl", "export.done"):
        kill_once(broken, file)
    return whole, broken


@pytest.mark.parametrize("name", ["draft", "target", "prm"])
def test_a_killed_and_resumed_run_gives_the_same_weights(
    runs: tuple[Path, Path], name: str
) -> None:
    whole, broken = (run / "models" / name / "model.safetensors" for run in runs)
    assert whole.read_bytes() == broken.read_bytes()


def test_the_run_leaves_ordinary_checkpoints(runs: tuple[Path, Path]) -> None:
    models = runs[0] / "models"
    for name in ("draft", "target"):
        model = transformers.AutoModelForCausalLM.from_pretrained(models / name)
        assert type(model).__name__ == "Qwen2ForCausalLM"
    for name in ("draft", "target", "prm"):
        files = {file.name for file in (models / name).iterdir()}
        assert {"config.json", "model.safetensors"} <= files
        assert {"tokenizer.json", "tokenizer_config.json"} <= files


def test_the_run_reports_what_it_measured(runs: tuple[Path, Path]) -> None:
    measured = json.loads((runs[0] / "evaluation.json").read_text())
    assert measured["problems"] == 4
    always, never = measured["rsd"][0], measured["rsd"][-1]
    assert always["threshold"] == 0.0
    assert always["accuracy"] == measured["draft"]["solved"]
    assert always["tokens"]["target"] == 0
    assert never["accuracy"] == measured["target"]["solved"]
    assert never["accepted"] == 0.0


def test_a_finished_run_has_nothing_left_to_do(runs: tuple[Path, Path]) -> None:
    assert finish(runs[0]).strip() == ""
