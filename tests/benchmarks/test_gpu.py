"""The benchmark for GPUs, on a processor with tiny models, as a bare image would run it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import rsdecode
from benchmarks import gpu
from benchmarks.random_models import ACCEPTANCE, random_model
from rsdecode.core.types import Role

ROOT = Path(__file__).parents[2]
LACKING = ["pydantic", "typer", "rich", "joblib", "threadpoolctl", "scipy", "accelerate"]
BARE = f"""
import runpy, sys

sys.modules.update(dict.fromkeys({LACKING}))  # as if they were not installed
runpy.run_module("benchmarks.gpu", run_name="__main__", alter_sys=True)
"""


def test_it_runs_where_torch_and_transformers_are_all_there_is(tmp_path: Path) -> None:
    kept = tmp_path / "gpu.json"
    given = ["--shape", "tiny", "--device", "cpu", "--json", "--out", str(kept)]
    source = str(Path(rsdecode.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", BARE, *given],
        env={"PYTHONPATH": source, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    cases = json.loads(done.stdout)["cases"]
    told = json.loads(kept.read_text(encoding="utf-8"))
    assert told["cases"] == cases
    assert {"date", "device", "versions", "shape", "seconds"} < told.keys()
    by_name = {case.pop("name"): case for case in cases}
    assert all(by_name[f"{role}, outputs"]["distance"] < 1e-5 for role in ("draft", "target"))
    for name in ("rsd, 1", "rsd, 4"):
        assert by_name[name]["accepted"] == ACCEPTANCE
        assert by_name[name]["same_tokens_as_generate"] == 1.0
        assert all(figure > 0 for figure in by_name[name].values()), by_name
    for name in ("draft writes, 1", "target writes, 4"):
        assert by_name[name]["floor_tokens_per_s"] > by_name[name]["tokens_per_s"]
    assert by_name["reward reads, 4"]["steps_per_s"] > 0


def test_a_device_that_is_not_there_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu", "--device", "cuda:99"])
    with pytest.raises(SystemExit) as left:
        gpu.main()
    assert left.value.code == 2
    assert "device 'cuda:99' is not available here" in capsys.readouterr().err


def test_the_floor_counts_what_a_pass_reads() -> None:
    """An embedding is read as far as its rows, unless it is the output layer too."""
    shape, cpu = gpu.SHAPES["tiny"], gpu.resolve_device("cpu")
    for role in Role:
        model = random_model(role, shape, cpu)
        whole = sum(p.numel() for p in model.parameters())
        rows = model.get_input_embeddings().weight.numel()
        apart = role is not Role.DRAFT
        assert gpu.weight_bytes(model) == 4 * (whole - rows * apart)
