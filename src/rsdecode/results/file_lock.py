"""Locks that keep a second rsd from writing into the same file or folder."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

import filelock

from rsdecode.core.errors import ConfigError

_NO_FLOCK = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP}


class FileLock:
    """A lock on a path, held from its creation until `release`.

    The system's lock (flock) goes with the process that holds it. On a file system that has none, a
    file with the number of the process stands in for it: one that a killed process of this machine
    left is taken over, one of another machine has to be removed by hand.

    Args:
        path: the lock's own file, which stays there; its folder must exist.
        name: of what is locked, for errors.
        wait_s: seconds to wait for another process.

    Attributes:
        warning: what the user should know about this lock; None where all is well.

    Raises:
        ConfigError: another process has it, or its file cannot be written.
    """

    def __init__(self, path: Path, name: str, *, wait_s: float = 0.0) -> None:
        self.warning: str | None = None
        try:
            self._lock = _acquired(
                filelock.FileLock(path, wait_s, thread_local=False, fallback_to_soft=False)
            )
        except filelock.Timeout:
            raise ConfigError(f"{name} is being written by another rsd: {_WAIT}") from None
        except OSError as error:
            if error.errno not in _NO_FLOCK:
                raise ConfigError(f"{name}: cannot be written: {error.strerror}") from None
            self._lock = _acquire_without_flock(Path(f"{path}.pid"), name, wait_s)
            self.warning = (
                f"{name}: its file system has no locks ({error.strerror}); {path}.pid stands in "
                "for one, and only one rsd should write there at a time"
            )

    def release(self) -> None:
        """Let others have it."""
        self._lock.release()


_WAIT = "wait for it, or choose another"


def _acquired(lock: filelock.BaseFileLock) -> filelock.BaseFileLock:
    lock.acquire()
    return lock


def _acquire_without_flock(path: Path, name: str, wait_s: float) -> filelock.BaseFileLock:
    try:
        return _acquired(filelock.SoftFileLock(path, wait_s, thread_local=False))
    except filelock.Timeout:
        raise ConfigError(
            f"{name} is being written by another rsd, {_holder(path)}: {_WAIT}; if that process "
            f"is gone, remove {path}"
        ) from None
    except OSError as error:
        raise ConfigError(f"{name}: cannot be written: {error.strerror}") from None


def _holder(path: Path) -> str:
    """Who a lock file says that it belongs to: process and machine, a line each."""
    with suppress(OSError, ValueError, IndexError):
        process, machine = path.read_text(encoding="utf-8").splitlines()[:2]
        here = " of this machine" if machine.partition("?")[0] == os.uname().nodename else ""
        return f"process {int(process)}{here or f' of {machine}'}"
    return f"an unknown process, says {path}"
