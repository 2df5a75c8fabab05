from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import rsdecode
from rsdecode.cli.main import main

DRAFT = {
    "generate": {"*": ["2 + 2 = 4.\n\n", "So it is 5.\n\n", "The answer is \\boxed{4}."]},
    "score": {"*": [0.9, 0.2, 0.8]},
}
TARGET = {"generate": {"*": ["Two and two.\n\n", "It is 4.\n\n", "Answer: \\boxed{4}."]}}
"""The draft's second step is rejected; the target writes "It is 4." instead."""


class Result(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


Rsd = Callable[..., Result]
"""rsd(*arguments, stdin=b"") runs the command in this process."""


@pytest.fixture
def rsd(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Rsd:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def run(*arguments: object, stdin: bytes = b"") -> Result:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        written = capsys.readouterr()
        return Result(code, written.out, written.err)

    return run


@pytest.fixture
def models(tmp_path: Path) -> list[str]:
    """Options that name scripted models."""
    (tmp_path / "draft.json").write_text(json.dumps(DRAFT))
    (tmp_path / "target.json").write_text(json.dumps(TARGET))
    draft, target = f"scripted:{tmp_path}/draft.json", f"scripted:{tmp_path}/target.json"
    return ["--draft", draft, "--target", target, "--reward", draft]


def write_lines(path: Path, *lines: object) -> Path:
    """Write JSON lines; bytes and texts as they are."""
    data = [
        line
        if isinstance(line, bytes)
        else line.encode()
        if isinstance(line, str)
        else json.dumps(line).encode()
        for line in lines
    ]
    path.write_bytes(b"".join(line + b"\n" for line in data))
    return path


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def spawn(*arguments: object, cwd: Path, **options: Any) -> subprocess.Popen[bytes]:
    """Start the command in a process of its own."""
    source = str(Path(rsdecode.__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": source}
    pipes: dict[str, Any] = {
        "stdin": subprocess.DEVNULL,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
    }
    started: Any = subprocess.Popen
    return started(
        [sys.executable, "-m", "rsdecode", *map(str, arguments)],
        cwd=cwd,
        env=environment,
        **(pipes | options),
    )


def run(*arguments: object, cwd: Path, timeout_s: float = 60, **options: Any) -> Result:
    """Run the command in a process of its own."""
    process = spawn(*arguments, cwd=cwd, **options)
    out, err = process.communicate(timeout=timeout_s)
    return Result(process.returncode, (out or b"").decode(), (err or b"").decode())
