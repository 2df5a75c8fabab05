"""Appends lines to a file in a thread, so that no event loop waits for a disk."""

from __future__ import annotations

import asyncio
import errno
import os
import queue
import tempfile
import threading
import time
from collections.abc import Coroutine, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from rsdecode.core.errors import StorageError

LATE_S = 0.05
"""A line is on the disk at most this long after it was appended, beside the time of one fsync."""
RESERVE_BYTES = 1 << 18
_FULL = {errno.ENOSPC, errno.EDQUOT}
Result = TypeVar("Result")


class LineWriter:
    """Appends whole lines to a file; close it in the end.

    A line goes to the operating system at once, so it outlives this process; lines that come close
    together share one fsync. Some space is set aside: on a full disk it takes the lines that are
    finished by then.

    Args:
        path: the file; created if it does not exist.
        name: what errors call it.

    Attributes:
        failure: gets the error as soon as a line cannot be written.

    Raises:
        StorageError: it cannot be opened.
    """

    def __init__(self, path: Path, name: str) -> None:
        self._name = name
        self.failure: Future[None] = Future()
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise storage_error(name, error) from None
        self._reserve = _reserve(path.parent)
        self._thread = threading.Thread(target=self._run, name=f"write {path.name}", daemon=True)
        self._thread.start()

    def append(self, line: bytes) -> None:
        """Write a line soon.

        Raises:
            StorageError: an earlier one could not be written; this one is tried nevertheless.
        """
        self._lines.put(line)
        self._raise_failure()

    def close(self) -> None:
        """Wait until every line is on the disk, and close the file. Safe to call twice.

        Raises:
            StorageError: some could not be written.
        """
        if self._thread.is_alive():
            self._lines.put(None)
            self._thread.join()
        self._raise_failure()

    def _raise_failure(self) -> None:
        if self.failure.done():
            self.failure.result()

    def _run(self) -> None:
        due: float | None = None
        closing = False
        while not closing:
            lines, closing = self._take(due)
            try:
                if lines:
                    self._write(lines)
                    due = due or time.monotonic() + LATE_S
                if due is not None and (closing or time.monotonic() >= due):
                    due = None
                    os.fsync(self._file)
            except Exception as error:  # noqa: BLE001 - it is raised where answers come from
                self._fail(error)
        if self._reserve is not None:
            os.close(self._reserve)
        os.close(self._file)

    def _take(self, due: float | None) -> tuple[list[bytes], bool]:
        """All lines that wait, once there is one or it is time; and whether it was the last."""
        lines: list[bytes] = []
        wait_s = None if due is None else max(due - time.monotonic(), 0.0)
        with suppress(queue.Empty):
            while True:
                line = self._lines.get(timeout=0.0 if lines else wait_s)
                if line is None:
                    return lines, True
                lines.append(line)
        return lines, False

    def _write(self, lines: Sequence[bytes]) -> None:
        """Write lines; of one that cannot be written as a whole nothing stays."""
        for line in lines:
            left = line
            try:
                while left:
                    left = left[self._write_some(left) :]
            except OSError:
                with suppress(OSError):
                    os.ftruncate(self._file, os.fstat(self._file).st_size - len(line) + len(left))
                raise

    def _write_some(self, data: bytes) -> int:
        try:
            return os.write(self._file, data)
        except OSError as error:
            if self._reserve is None or error.errno not in _FULL:
                raise
            reserve, self._reserve = self._reserve, None
            os.close(reserve)
            written = os.write(self._file, data)
            self._fail(error)
            return written

    def _fail(self, error: Exception) -> None:
        if not self.failure.done():
            told = storage_error(self._name, error) if isinstance(error, OSError) else error
            self.failure.set_exception(told)


def storage_error(name: str, error: OSError) -> StorageError:
    """What to tell of a file that cannot be written."""
    remedy = {
        errno.ENOSPC: "make room on its disk",
        errno.EDQUOT: "make room in your quota of its disk",
        errno.EROFS: "make its file system writable again",
    }.get(error.errno or 0, "mend that")
    return StorageError(
        f"{name}: cannot be written: {error.strerror or error}. What was written is kept: "
        f"{remedy}, then the same command goes on from there"
    )


async def run_until_failure(
    work: Coroutine[Any, Any, Result], failures: Sequence[Future[None]]
) -> Result:
    """Await `work`; a writer's failure cancels it at once and is raised instead.

    Args:
        work: what appends lines.
        failures: of the writers.
    """
    loop, task = asyncio.get_running_loop(), asyncio.ensure_future(work)

    def stop(_: Future[None]) -> None:
        with suppress(RuntimeError):  # the loop is closed already
            loop.call_soon_threadsafe(task.cancel)

    for failure in failures:
        failure.add_done_callback(stop)
    try:
        return await task
    except asyncio.CancelledError:
        for failure in failures:
            if failure.done():
                failure.result()
        raise


def _reserve(folder: Path) -> int | None:
    """Space in a file without a name, which the system frees when this process ends."""
    try:
        file, path = tempfile.mkstemp(prefix=".rsd-", dir=folder)
    except OSError:
        return None
    try:
        os.unlink(path)
        os.posix_fallocate(file, 0, RESERVE_BYTES)
    except (OSError, AttributeError):  # no room for it, or a system without the call
        os.close(file)
        return None
    return file
