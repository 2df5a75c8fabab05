from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from rsdecode import __version__

from .conftest import Rsd, run, spawn


def test_version(rsd: Rsd) -> None:
    assert rsd("--version").out == f"rsd {__version__}\n"


def test_help_lists_the_commands_and_their_exit_codes(rsd: Rsd) -> None:
    top = rsd("--help")
    assert top.code == 0
    assert "solve" in top.out
    assert "doctor" in top.out
    text = re.sub(r"\s+", " ", rsd("solve", "--help").out)
    for option in ("--threshold", "--budget", "--input", "--overwrite", "--max-step-tokens"):
        assert option in text
    assert "130 interrupted" in text


def test_no_command_shows_the_help(rsd: Rsd) -> None:
    result = rsd()
    assert result.code == 2
    assert "Usage" in result.out + result.err


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("solve", "--nonsense"), ["--nonsense", "rsd solve --help"]),
        (("solve", "q", "--threshold", "abc"), ["--threshold"]),
        (("sovle",), ["sovle", "rsd --help"]),
        (("solve", "q", "more"), ["more"]),
    ],
)
def test_usage_errors_are_one_line(rsd: Rsd, arguments: tuple[str, ...], parts: list[str]) -> None:
    result = rsd(*arguments)
    assert result.code == 2
    assert result.out == ""
    assert result.err.startswith("error: ")
    assert result.err.count("\n") == 1
    assert all(part in result.err for part in parts)


def test_a_traceback_only_shows_when_asked_for(rsd: Rsd, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ("solve", "q", "--threshold", "2")
    assert "Traceback" not in rsd(*arguments).err
    monkeypatch.setenv("RSD_DEBUG", "1")
    assert "Traceback" in rsd(*arguments).err


def test_a_bug_is_one_line_too(
    rsd: Rsd, monkeypatch: pytest.MonkeyPatch, models: list[str]
) -> None:
    def broken(*_: object, **__: object) -> int:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("rsdecode.cli.solve.solve_question", broken)
    result = rsd("solve", "q", *models)
    assert result.code == 2
    assert (
        result.err
        == "error: ZeroDivisionError: division by zero (a bug? RSD_DEBUG=1 shows where)\n"
    )


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path, models: list[str]) -> None:
    reader, writer = os.pipe()
    process = spawn("solve", "q", *models, cwd=tmp_path, stdout=writer)
    os.close(reader)
    os.close(writer)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 141
    assert err == b""


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["solve", "q", "--json"]])
def test_output_that_does_not_fit_is_told(
    arguments: list[str], tmp_path: Path, models: list[str]
) -> None:
    options = models if "solve" in arguments else []
    with open("/dev/full", "w") as full:
        result = run(*arguments, *options, cwd=tmp_path, stdout=full)
    assert result.code == 2
    assert result.err.startswith("error: standard output cannot be written: No space left")
    assert "make room on its disk, or send it elsewhere" in result.err
    assert result.err.count("\n") == 1


def test_errors_are_coloured_on_a_terminal_only(tmp_path: Path) -> None:
    plain = run("solve", "", cwd=tmp_path)
    assert "\x1b" not in plain.err
    parent, child = pty.openpty()
    process = spawn("solve", "", cwd=tmp_path, stderr=child, stdout=subprocess.DEVNULL)
    assert process.wait(timeout=60) == 2
    os.close(child)
    assert b"\x1b[1;31merror:\x1b[0m the question is empty" in os.read(parent, 4096)
    os.close(parent)


def test_the_working_directory_is_only_searched_for_functions_of_ones_own(
    rsd: Rsd, tmp_path: Path, models: list[str]
) -> None:
    (tmp_path / "own_judge.py").write_text("def score(question, steps): return 1.0\n")
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "__init__.py").touch()
    assert rsd("solve", "q", "--method", "draft", *models).code == 0
    assert str(tmp_path) not in sys.path
    assert rsd("solve", "q", *models[:4], "--reward", "python:own_judge:score").code == 0
    assert sys.path[-1] == str(tmp_path)
