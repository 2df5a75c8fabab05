from __future__ import annotations

import asyncio
import errno
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from rsdecode.core.errors import StorageError
from rsdecode.results import line_writer
from rsdecode.results.line_writer import LATE_S, LineWriter, run_until_failure


def wait_for_size(path: Path, size: int) -> None:
    deadline = time.monotonic() + 20
    while path.stat().st_size < size:
        assert time.monotonic() < deadline
        time.sleep(0.001)


class Disk:
    """Stands between the writer and the disk: counts flushes, and is full after `room` bytes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, room: int | None = None) -> None:
        self.flushes = 0
        self.flush_s = 0.0
        self.room = room
        self.error = errno.ENOSPC
        self._write, self._fsync, self._close = os.write, os.fsync, os.close
        monkeypatch.setattr(line_writer.os, "write", self.write)
        monkeypatch.setattr(line_writer.os, "fsync", self.fsync)

    def write(self, file: int, data: bytes) -> int:
        if self.room is None:
            return self._write(file, data)
        if not self.room:
            raise OSError(self.error, os.strerror(self.error))
        written = self._write(file, data[: self.room])
        self.room -= written
        return written

    def fsync(self, file: int) -> None:
        self.flushes += 1
        time.sleep(self.flush_s)
        self._fsync(file)


def test_nobody_waits_for_the_disk_and_lines_share_a_flush(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch)
    disk.flush_s = 0.05
    writer = LineWriter(tmp_path / "a", "a")
    started = time.perf_counter()
    for number in range(1000):
        writer.append(b"%d\n" % number)
    assert time.perf_counter() - started < 0.5  # 1000 flushes would take 50 s
    writer.close()
    assert (tmp_path / "a").read_bytes() == b"".join(b"%d\n" % n for n in range(1000))
    assert 1 <= disk.flushes < 20


def test_a_single_line_is_flushed_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(monkeypatch)
    writer = LineWriter(tmp_path / "a", "a")
    writer.append(b"x\n")
    wait_for_size(tmp_path / "a", 2)  # before its flush
    deadline = time.monotonic() + 20
    while not disk.flushes:
        assert time.monotonic() < deadline
        time.sleep(LATE_S / 10)
    time.sleep(2 * LATE_S)
    assert disk.flushes == 1  # and the idle thread sleeps
    writer.close()
    writer.close()
    assert disk.flushes == 1


def test_a_killed_process_leaves_whole_lines(tmp_path: Path) -> None:
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from rsdecode.results.line_writer import LineWriter\n"
        "writer = LineWriter(Path(sys.argv[1]), 'a')\n"
        "for n in range(10**9): writer.append(b'%099d\\n' % n); time.sleep(0.0005)\n"
    )
    path = tmp_path / "a"
    path.touch()
    process = subprocess.Popen([sys.executable, "-c", code, str(path)])
    try:
        wait_for_size(path, 30_000)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    lines = path.read_bytes().splitlines(keepends=True)
    assert lines == [b"%099d\n" % n for n in range(len(lines))]
    assert list(tmp_path.iterdir()) == [path]  # nor is the reserve left


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "make room on its disk"),
        (errno.EDQUOT, "make room in your quota"),
        (errno.EROFS, "make its file system writable again"),
        (errno.EIO, "mend that"),
    ],
)
def test_a_full_disk_is_named_and_tears_no_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, remedy: str
) -> None:
    monkeypatch.setattr(line_writer, "_reserve", lambda folder: None)
    disk = Disk(monkeypatch, room=7)
    disk.error = number
    writer = LineWriter(tmp_path / "a", "results a")
    writer.append(b"one\n")
    writer.append(b"two and three\n")
    with pytest.raises(StorageError, match=f"results a: cannot be written.*{remedy}.*same command"):
        writer.close()
    assert (tmp_path / "a").read_bytes() == b"one\n"
    with pytest.raises(StorageError):
        writer.append(b"more\n")


def test_what_is_finished_when_the_disk_is_full_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The space that was set aside takes it."""
    disk = Disk(monkeypatch)
    writer = LineWriter(tmp_path / "a", "a")
    close = os.close

    def freed(file: int) -> None:
        close(file)
        disk.room = None

    monkeypatch.setattr(line_writer.os, "close", freed)
    disk.room = 5
    for line in (b"one\n", b"two\n", b"three\n"):
        with suppress(StorageError):
            writer.append(line)
    with pytest.raises(StorageError, match="No space left"):
        writer.close()
    assert (tmp_path / "a").read_bytes() == b"one\ntwo\nthree\n"


async def test_a_failure_ends_the_work_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line_writer, "_reserve", lambda folder: None)
    Disk(monkeypatch, room=0)
    writer, other = LineWriter(tmp_path / "a", "a"), LineWriter(tmp_path / "b", "b")
    cleaned: list[str] = []

    async def work() -> None:
        writer.append(b"one\n")
        try:
            await asyncio.sleep(30)
        finally:
            cleaned.append("up")

    started = time.perf_counter()
    with pytest.raises(StorageError, match="a: cannot be written"):
        await run_until_failure(work(), [other.failure, writer.failure])
    assert time.perf_counter() - started < 5
    assert cleaned == ["up"]
    other.close()


async def test_without_a_failure_nothing_changes(tmp_path: Path) -> None:
    writer = LineWriter(tmp_path / "a", "a")

    async def work(answer: int) -> int:
        await asyncio.sleep(0)
        if answer < 0:
            raise ValueError("wrong")
        return answer

    assert await run_until_failure(work(3), [writer.failure]) == 3
    with pytest.raises(ValueError, match="wrong"):
        await run_until_failure(work(-1), [writer.failure])
    task = asyncio.ensure_future(run_until_failure(asyncio.sleep(30), [writer.failure]))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    writer.append(b"x\n")
    writer.close()


def test_a_file_limit_is_a_full_disk_of_the_system_itself(tmp_path: Path) -> None:
    """No stand-in: the kernel refuses what is beyond RLIMIT_FSIZE, with a short write before it."""
    code = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from rsdecode.results import line_writer\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "writer = line_writer.LineWriter(Path(sys.argv[1]), 'a')\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (25, resource.RLIM_INFINITY))\n"
        "try:\n"
        "    for n in range(4): writer.append(b'%09d\\n' % n)\n"
        "    writer.close()\n"
        "except line_writer.StorageError as error: print(error)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "a")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "a: cannot be written: File too large" in done.stdout
    assert (tmp_path / "a").read_bytes() == b"%09d\n%09d\n" % (0, 1)
