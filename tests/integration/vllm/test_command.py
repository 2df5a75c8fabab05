"""`rsd solve` over models that it serves itself leaves no process behind, however it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from rsdecode.models.abacus import model_path, problems

from .conftest import MARK, left_over

pytestmark = pytest.mark.integration


class Run:
    """A running `rsd solve`, whose processes are known by their mark."""

    def __init__(self, folder: Path, *arguments: object) -> None:
        self.mark = f"{os.getpid()}-{time.time_ns()}"
        self.errors = folder / "stderr"
        places = {role: f"vllm:{model_path(role)}" for role in ("draft", "target", "prm")}
        models = ["--draft", places["draft"], "--target", places["target"]]
        models += ["--reward", places["prm"], "--system", "", "--dtype", "float32"]
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "rsdecode", "solve", *map(str, arguments), *models],
                env=os.environ | {MARK: self.mark},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
            )

    def wait_for(self, condition: Any) -> None:
        while not condition():
            assert self.process.poll() is None, self.errors.read_text()
            time.sleep(0.2)

    def says(self, text: str) -> bool:
        return text in self.errors.read_text()

    def all_gone(self, within_s: float = 30.0) -> list[str]:
        """What is left of its processes after a while; nothing, it is hoped."""
        deadline = time.monotonic() + within_s
        while (left := left_over(self.mark)) and time.monotonic() < deadline:
            time.sleep(0.2)
        return left


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    path = tmp_path / "questions.jsonl"
    lines = [json.dumps({"id": p.id, "question": p.question}) for p in problems("test", limit=200)]
    path.write_text("\n".join(lines))
    return path


def test_success(tmp_path: Path) -> None:
    [problem] = problems("test", limit=1)
    run = Run(tmp_path, problem.question, "--json")
    out, _ = run.process.communicate()
    assert run.process.returncode == 0, run.errors.read_text()
    record = json.loads(out)
    assert record["stop_reason"] == "eos"
    assert left_over(run.mark) == []
    logs = re.findall(r"vLLM is up", run.errors.read_text())
    assert len(logs) == 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_signals(tmp_path: Path, number: int) -> None:
    """They arrive while one server is up and another is starting."""
    run = Run(tmp_path, "How many?", "--json")
    run.wait_for(lambda: run.says("draft: vLLM is up"))
    assert len(left_over(run.mark)) > 2
    run.process.send_signal(number)
    assert run.process.wait(60) in ({130} if number == signal.SIGINT else {-number, 143})
    assert run.all_gone() == []


def test_a_server_that_dies(tmp_path: Path, questions: Path) -> None:
    """It is reported and started again, and every question is answered."""
    output = tmp_path / "answers.jsonl"
    run = Run(tmp_path, "--input", questions, "--output", output)
    run.wait_for(lambda: output.exists() and output.read_text().count("\n") >= 5)
    [victim] = [pid for pid, words in commands(run.mark) if "--served-model-name target" in words]
    os.kill(victim, signal.SIGKILL)
    assert run.process.wait(600) == 0, run.errors.read_text()
    assert run.says("warning: the vLLM server of target")
    assert run.says("starting it once more")
    records = [json.loads(line) for line in output.read_text().splitlines()]
    assert len({record["id"] for record in records}) == len(records) == 200
    assert all(record["stop_reason"] != "error" for record in records)
    assert left_over(run.mark) == []


def commands(mark: str) -> list[tuple[int, str]]:
    """The processes at the head of a group that carry the mark, and their command lines."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if f"{MARK}={mark}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                words = (folder / "cmdline").read_text().replace("\0", " ")
                pid = int(folder.name)
                if os.getpgid(pid) == pid and "supervisor.py" not in words:
                    found.append((pid, words))
        except (OSError, ValueError):
            continue
    return found
