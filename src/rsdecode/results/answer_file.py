"""A file of answers: read and checked, brought to what is kept of it, appended as answers end."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any

from rsdecode.core.errors import ConfigError
from rsdecode.results.line_writer import LineWriter, storage_error
from rsdecode.results.lines import as_line, finished_first, is_retried, parse_lines


class AnswerFile:
    """The answers of one file. Nothing in it changes before `start`; `close` it in the end.

    A torn last line, damaged lines and answers that ended with `error` or `cancelled` are dropped
    when writing begins, and are to be made again. Whoever writes holds a lock (`FileLock`).

    Args:
        path: the file; it need not exist.
        name: what errors call it.
        readable: characters beyond ASCII are written as they are, and lines without a checksum are
            taken as answers.

    Attributes:
        found: what the file held.
        answers: one record for each answer that it held.

    Raises:
        ConfigError: it cannot be read.
    """

    def __init__(self, path: Path, name: str, *, readable: bool = False) -> None:
        self._path, self._name, self._readable = Path(os.path.realpath(path)), name, readable
        self._writer: LineWriter | None = None
        try:
            self._data = self._path.read_bytes() if self._path.exists() else b""
        except OSError as error:
            raise ConfigError(f"{name}: cannot be read: {error.strerror}") from None
        self.found = parse_lines(self._data, plain=readable)
        self.answers = finished_first(self.found.records)

    @property
    def name(self) -> str:
        """What errors call it."""
        return self._name

    @property
    def failure(self) -> Future[None]:
        """Gets the error as soon as an answer cannot be written."""
        return self._begun().failure

    def start(self, *, afresh: bool = False) -> None:
        """Bring the file to what is kept of it, and get ready to write.

        Damaged lines go to a file beside it.

        Args:
            afresh: keep nothing of it.

        Raises:
            StorageError: it cannot be written.
        """
        kept = {} if afresh else finished_first(self.found.records)
        lines = (self._line(record) for record in kept.values() if not is_retried(record))
        data = b"".join(lines)
        if data != self._data:
            if not afresh:
                self._set_damaged_aside()
            replace_file(self._path, data, self._name)
        self._data = b""
        self._writer = LineWriter(self._path, self._name)

    def append(self, record: dict[str, Any]) -> None:
        """Write one answer soon; it outlives this process at once, and a crash of the system soon.

        Raises:
            StorageError: an answer could not be written.
        """
        self._begun().append(self._line(record))

    def close(self) -> None:
        """Wait until all is on the disk.

        Raises:
            StorageError: an answer could not be written.
        """
        if self._writer is not None:
            self._writer.close()

    def _begun(self) -> LineWriter:
        if self._writer is None:
            raise RuntimeError("answers are written between begin() and close()")
        return self._writer

    def _line(self, record: Mapping[str, Any]) -> bytes:
        plain = {name: value for name, value in record.items() if name != "crc"}
        return as_line(plain, ascii_only=not self._readable)

    def _set_damaged_aside(self) -> None:
        if self.found.damaged:
            lines = self._data.split(b"\n")
            damaged = b"".join(lines[number - 1] + b"\n" for number in self.found.damaged)
            with suppress(OSError), open(f"{self._path}.damaged", "ab") as file:
                file.write(damaged)


def replace_file(path: Path, data: bytes, name: str) -> None:
    """Make a file hold `data` alone; a crash leaves it as it was or as it is to be.

    Raises:
        StorageError: it cannot be written.
    """
    try:
        handle, new = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                os.fchmod(handle, path.stat().st_mode & 0o777 if path.exists() else _new_mode())
                file.write(data)
                file.flush()
                os.fsync(handle)
            os.replace(new, path)
        except BaseException:
            Path(new).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise storage_error(name, error) from None


def _new_mode() -> int:
    """Of a file that is made now: mkstemp alone would keep others from reading it."""
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
