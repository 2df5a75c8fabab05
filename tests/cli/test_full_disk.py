"""A disk that gets full in the middle of a run."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import read_lines, run, write_lines

SIZE = 2 << 20
COUNT = 40


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    options = f"size={SIZE}"
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
