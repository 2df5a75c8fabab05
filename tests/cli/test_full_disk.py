"""A disk that gets full in the middle of a run."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.training.labels import write_folder

from .conftest import read_lines, run, write_lines

SIZE = 2 << 20
COUNT = 40


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two megabytes."""
    yield from mounted(tmp_path / "disk", SIZE)


@pytest.fixture
def large_disk(tmp_path: Path) -> Iterator[Path]:
    """One that holds what a training leaves."""
    yield from mounted(tmp_path / "disk", 24 << 20)


def mounted(folder: Path, size: int) -> Iterator[Path]:
    """A file system in memory, until the test is over."""
    folder.mkdir()
    options = f"size={size}"
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)],
        check=False,
        capture_output=True,
    )
    if made.returncode:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def models(tmp_path: Path) -> list[str]:
    """A draft whose answers take 8 kB each."""
    (tmp_path / "long.json").write_text(
        json.dumps({"generate": {"*": ["x" * 4000 + " \\boxed{4}"]}, "score": {"*": [1.0]}})
    )
    spec = f"scripted:{tmp_path}/long.json"
    return ["--draft", spec, "--target", spec, "--reward", spec, "--concurrency", "1"]


def fill(disk: Path, leave: int) -> Path:
    """A file that leaves so many bytes."""
    ballast = disk / "ballast"
    free = os.statvfs(disk)
    ballast.write_bytes(bytes(free.f_bavail * free.f_bsize - leave))
    return ballast


def test_solve_says_which_file_keeps_what_is_there_and_goes_on(
    small_disk: Path, tmp_path: Path, models: list[str]
) -> None:
    lines = [{"id": f"q{n}", "question": f"{n}?"} for n in range(COUNT)]
    source, output = write_lines(tmp_path / "in.jsonl", *lines), small_disk / "out.jsonl"
    command = ["solve", "--input", source, "--output", output, "--json", *models]
    ballast = fill(small_disk, leave=(1 << 18) + 100_000)
    result = run(*command, cwd=tmp_path)
    assert result.code == 2
    error = result.err.splitlines()[-1]
    assert error.startswith(f"error: --output {output}: cannot be written: No space left on device")
    assert "make room on its disk, then the same command goes on from there" in error
    stored = [record["id"] for record in read_lines(output)]
    printed = [record["id"] for record in result.records]
    assert 0 < len(stored) < COUNT
    both = min(len(stored), len(printed))  # the last one may be stored or printed alone
    assert stored[:both] == printed[:both]
    assert abs(len(stored) - len(printed)) <= 1
    ballast.unlink()
    again = run(*command, cwd=tmp_path)
    assert again.code == 0
    assert f"{COUNT} of {COUNT} done, {len(stored)} of them before" in again.err
    assert sorted(r["id"] for r in read_lines(output)) == sorted(f"q{n}" for n in range(COUNT))


def test_eval_says_which_file_keeps_what_is_there_and_goes_on(
    small_disk: Path, tmp_path: Path, models: list[str]
) -> None:
    lines = [{"question": f"What is {n} + 2?", "answer": "4"} for n in range(COUNT)]
    write_lines(tmp_path / "q.jsonl", *lines)
    out = small_disk / "out"
    command = ["eval", "--data", "q.jsonl", "--out", out, "--methods", "draft", *models]
    ballast = fill(small_disk, leave=(1 << 18) + 100_000)
    result = run(*command, cwd=tmp_path)
    assert result.code == 2
    [cell] = (out / "cells").glob("*.jsonl")
    assert f"error: {cell}: cannot be written: No space left on device" in result.err
    stored = len(read_lines(cell))
    assert 0 < stored < COUNT
    ballast.unlink()
    again = run(*command, cwd=tmp_path)
    assert again.code == 0
    assert f"{COUNT} answers, {stored} of them before" in again.err


def test_a_disk_that_is_full_before_the_run(
    small_disk: Path, tmp_path: Path, models: list[str]
) -> None:
    source = write_lines(tmp_path / "in.jsonl", {"question": "a?"}, {"question": "b?"})
    output = small_disk / "out.jsonl"
    fill(small_disk, leave=4096)
    result = run("solve", "--input", source, "--output", output, *models, cwd=tmp_path)
    assert result.code == 2
    assert str(output) in result.err
    assert "No space left on device" in result.err


def test_labels_that_were_kept_are_not_made_again(
    small_disk: Path, tmp_path: Path, models: list[str]
) -> None:
    (tmp_path / "checking.py").write_text("def score(question, steps): return 1.0\n")
    words = [f"{a}pp{b}" for a in "aeiou" for b in "aei"]
    lines = [{"id": f"{a}-{b}", "question": f"{a} {b}?", "answer": "4"}
             for a in words for b in words[:7]]  # fmt: skip
    write_lines(tmp_path / "q.jsonl", *lines)
    out = small_disk / "labels"
    command = ["prm", "label", "--data", "q.jsonl", "--out", out, "--by", "checker", *models,
               "--reward", "python:checking:score", "--samples", "1", "--continued", "0",
               "--keep-easy"]  # fmt: skip
    ballast = fill(small_disk, leave=(1 << 17) + 50_000)
    result = run(*command, cwd=tmp_path)
    assert result.code == 2
    assert "cannot be written: No space left on device" in result.err
    [cell] = (out / "store" / "cells").glob("*.jsonl")
    stored = {record["id"]: record for record in read_lines(cell)}
    assert 0 < len(stored) < len(lines)
    ballast.unlink()
    again = run(*command, cwd=tmp_path)
    assert again.code == 0, again.err
    assert f"{len(stored)} of them before" in again.err
    kept = read_lines(cell)
    assert sorted(record["id"] for record in kept) == sorted(line["id"] for line in lines)
    assert [record for record in kept if record["id"] in stored] == list(stored.values())
    written = [row for name in ("train", "validation") for row in read_lines(out / f"{name}.jsonl")]
    assert sorted(row["problem"] for row in written) == sorted(line["id"] for line in lines)


@pytest.mark.skipif("RSD_SLOW" not in os.environ, reason="three trainings; set RSD_SLOW=1")
def test_a_training_goes_on_from_the_last_checkpoint_that_fitted(
    large_disk: Path, tmp_path: Path
) -> None:
    labels = write_folder(tmp_path / "labels", train=40, held_out=10)
    command = ["prm", "train", "--labels", labels, "--backbone", "abacus:draft", "--device", "cpu",
               "--max-length", "64", "--epochs", "4", "--batch", "4"]  # fmt: skip
    ballast = fill(large_disk, leave=3 << 20)  # of checkpoints with the optimiser's state two
    out = large_disk / "prm"
    result = run(*command, "--out", out, cwd=tmp_path)
    assert result.code == 2
    assert f"error: {out}: a checkpoint cannot be written: " in result.err
    assert "the same command goes on from there" in result.err
    assert "Traceback" not in result.err
    ballast.unlink()
    again = run(*command, "--out", out, cwd=tmp_path)
    assert again.code == 0, again.err
    assert "goes on from checkpoint-" in again.err
    alone = run(*command, "--out", tmp_path / "alone", cwd=tmp_path)
    assert alone.code == 0
    mine, other = (load_file(f / "model.safetensors") for f in (out, tmp_path / "alone"))
    for name, weights in other.items():
        torch.testing.assert_close(mine[name], weights, atol=1e-5, rtol=0)
