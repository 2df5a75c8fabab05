"""A file that one process writes at a time, and that a crash leaves whole."""

from __future__ import annotations

import fcntl
import os
import tempfile
from pathlib import Path
from typing import IO

from rsdecode.core.errors import ConfigError


class LockedFile:
    """A file, open and locked until it is closed.

    Args:
        path: the file; created if it does not exist. Its folder must exist.
        name: what errors call it.
        shared: let others who ask for a shared lock have it too; keeps out those who do not.

    Raises:
        ConfigError: it cannot be written, or another process has it.
    """

    def __init__(self, path: Path, name: str, *, shared: bool = False) -> None:
        self._path = Path(os.path.realpath(path))
        self._name = name
        self._lock = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB
        self._file = self._open_locked()

    def read(self) -> bytes:
        """All that it holds."""
        self._file.seek(0)
        return self._file.read()

    def append(self, data: bytes) -> None:
        """Write at the end so that it outlives a crash."""
        self._file.seek(0, os.SEEK_END)
        self._file.write(data)
        _flush(self._file)

    def replace(self, data: bytes) -> None:
        """Make it hold `data` alone; a crash leaves it as it was or as it is to be."""
        folder, name = self._path.parent, self._path.name
        handle, temporary = tempfile.mkstemp(prefix=f".{name}.", dir=folder)
        new = os.fdopen(handle, "r+b")
        try:
            os.fchmod(handle, os.fstat(self._file.fileno()).st_mode & 0o777)
            fcntl.flock(new, self._lock)
            new.write(data)
            _flush(new)
            os.replace(temporary, self._path)
        except BaseException:
            new.close()
            Path(temporary).unlink(missing_ok=True)
            raise
        self._file.close()
        self._file = new

    def close(self) -> None:
        """Let others have it."""
        self._file.close()

    def _open_locked(self) -> IO[bytes]:
        while True:
            try:
                file = open(  # noqa: SIM115 - stays open, and locked, until close()
                    os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666), "r+b"
                )
            except OSError as error:
                raise ConfigError(f"{self._name}: cannot be written: {error.strerror}") from None
            try:
                fcntl.flock(file, self._lock)
            except OSError:
                file.close()
                raise ConfigError(
                    f"{self._name} is being written by another rsd: wait for it, or choose another"
                ) from None
            if _same_file(file, self._path):
                return file
            file.close()  # it was replaced between our opening and our locking it


def _flush(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _same_file(file: IO[bytes], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
