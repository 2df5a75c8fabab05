from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rsdecode.core.errors import ConfigError
from rsdecode.results.file_lock import FileLock

HOLD = """
import fcntl, sys, time
from pathlib import Path
if sys.argv[2] == "without":
    def flock(*_): raise OSError(38, "Function not implemented")
    fcntl.flock = flock
from rsdecode.results.file_lock import FileLock
lock = FileLock(Path(sys.argv[1]), "held")
print("held", flush=True)
time.sleep(60)
"""


def hold(path: Path, flock: str = "with") -> subprocess.Popen[bytes]:
    """A process that holds the lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path), flock], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    return process


@pytest.fixture(params=[errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def no_flock(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """A file system that has no locks."""

    def flock(*_: object) -> None:
        raise OSError(request.param, os.strerror(request.param))

    monkeypatch.setattr(fcntl, "flock", flock)
    return request.param


def refused(path: Path) -> str:
    with pytest.raises(ConfigError) as error:
        FileLock(path, "--out here")
    return str(error.value)


def test_one_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    first = FileLock(path, "--out here")
    assert first.warning is None
    for _ in range(2):
        assert refused(path) == (
            "--out here is being written by another rsd: wait for it, or choose another"
        )
    first.release()
    FileLock(path, "--out here").release()


@pytest.mark.parametrize("end", [subprocess.Popen.kill, subprocess.Popen.terminate])
def test_a_process_that_is_gone_holds_nothing(
    tmp_path: Path, end: Callable[[subprocess.Popen[bytes]], None]
) -> None:
    process = hold(tmp_path / ".lock")
    try:
        assert "another rsd" in refused(tmp_path / ".lock")
    finally:
        end(process)
        process.wait()
    FileLock(tmp_path / ".lock", "x").release()


def test_a_child_of_a_holder_holds_nothing(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / ".lock", "x")
    child = os.fork()
    if not child:
        os.execvp("sleep", ["sleep", "30"])
    try:
        lock.release()
        FileLock(tmp_path / ".lock", "x").release()
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)


@pytest.mark.usefixtures("no_flock")
def test_a_file_system_without_locks_gets_one_warning_and_still_one_writer(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    lock = FileLock(path, "--out here")
    assert lock.warning is not None
    assert "its file system has no locks" in lock.warning
    assert f"another rsd, process {os.getpid()} of this machine" in refused(path)
    lock.release()
    FileLock(path, "--out here").release()


@pytest.mark.usefixtures("no_flock")
def test_what_a_killed_process_left_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    process = hold(path, "without")
    try:
        assert f"process {process.pid} of this machine" in refused(path)
    finally:
        process.kill()
        process.wait()
    assert (tmp_path / ".lock.pid").exists()
    FileLock(path, "--out here").release()


@pytest.mark.usefixtures("no_flock")
def test_a_lock_of_another_machine_is_named_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / ".lock.pid").write_text("77\nnode12\n123\n")
    said = refused(tmp_path / ".lock")
    assert "process 77 of node12" in said
    assert f"if that process is gone, remove {tmp_path}/.lock.pid" in said
    (tmp_path / ".lock.pid").write_text("")
    assert "an unknown process" in refused(tmp_path / ".lock")


def test_a_lock_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / ".lock").mkdir()
    assert "--out here: cannot be written: Is a directory" in refused(tmp_path / ".lock")
