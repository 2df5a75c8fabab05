"""The output file of `rsd solve`: one JSON object per line, appended as each problem ends.

A run that was cut off goes on where it stopped. What is done stays; a torn last line and problems
that ended with `error` or `cancelled` are dropped from the file and solved again.
"""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from rsdecode.core.errors import ConfigError

RETRIED = ("error", "cancelled")
Key = tuple[str, int]
"""Problem id and sample."""


@dataclass(frozen=True, slots=True)
class RunKey:
    """What must be the same for results to stay in one file."""

    config_hash: str
    seed: int


class OutputFile:
    """An output file, locked for this process until it is closed.

    Args:
        path: the file; created if it does not exist.
        overwrite: forget what it holds.

    Raises:
        ConfigError: it cannot be written, is in use, or holds something else than results.
    """

    def __init__(self, path: Path, *, overwrite: bool = False) -> None:
        self._path = Path(os.path.realpath(path))
        self._name = f"--output {path}"
        self._file = self._open_locked()
        try:
            lines = [] if overwrite else self._read_lines()
            self._records = lines
            self._kept = [r for r in lines if r.get("stop_reason") not in RETRIED]
        except BaseException:
            self._file.close()
            raise

    def done(self, run: RunKey, questions: Mapping[str, str]) -> set[Key]:
        """Which samples of which problems the file holds already.

        Args:
            run: of this run.
            questions: by problem id.

        Raises:
            ConfigError: the file belongs to another configuration, seed or set of questions.
        """
        for record in self._records:
            difference = _difference(record, run, questions)
            if difference:
                raise ConfigError(
                    f"{self._name} holds results of another run ({difference}): "
                    "choose another --output, or start it anew with --overwrite"
                )
        return {_key(record) for record in self._kept}

    def begin(self) -> None:
        """Bring the file to what is kept of it; nothing is changed before this is called."""
        kept = b"".join(_line(record) for record in self._kept)
        self._file.seek(0)
        if self._file.read() == kept:
            return
        folder, name = self._path.parent, self._path.name
        handle, temporary = tempfile.mkstemp(prefix=f".{name}.", dir=folder)
        new = os.fdopen(handle, "r+b")
        try:
            os.fchmod(handle, os.fstat(self._file.fileno()).st_mode & 0o777)
            fcntl.flock(new, fcntl.LOCK_EX | fcntl.LOCK_NB)
            new.write(kept)
            _flush(new)
            os.replace(temporary, self._path)
        except BaseException:
            new.close()
            Path(temporary).unlink(missing_ok=True)
            raise
        self._file.close()
        self._file = new

    def append(self, record: Mapping[str, Any]) -> None:
        """Write one result so that it outlives a crash."""
        self._file.seek(0, os.SEEK_END)
        self._file.write(_line(record))
        _flush(self._file)

    def close(self) -> None:
        """Let others write."""
        self._file.close()

    def _open_locked(self) -> IO[bytes]:
        if self._path.exists() and not self._path.is_file():
            raise ConfigError(f"{self._name} is not a file; --json prints results to stdout")
        while True:
            try:
                file = open(  # noqa: SIM115 - stays open, and locked, until close()
                    os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666), "r+b"
                )
            except OSError as error:
                raise ConfigError(f"{self._name}: cannot be written: {error.strerror}") from None
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.close()
                raise ConfigError(
                    f"{self._name} is being written by another rsd: wait for it, or choose another"
                ) from None
            if _same_file(file, self._path):
                return file
            file.close()  # it was replaced between our opening and our locking it

    def _read_lines(self) -> list[dict[str, Any]]:
        """The results in the file. Only the last line may be torn."""
        self._file.seek(0)
        lines = self._file.read().split(b"\n")
        records: list[dict[str, Any]] = []
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            record = _record(line)
            if record is not None:
                records.append(record)
            elif number < len(lines):
                raise ConfigError(
                    f"{self._name}: line {number} is not a result of rsd solve: "
                    "choose another --output, or start it anew with --overwrite"
                )
        return records


def _record(line: bytes) -> dict[str, Any] | None:
    try:
        value: Any = json.loads(line.decode("utf-8"))
    except ValueError:
        return None
    if not isinstance(value, dict) or not isinstance(value.get("id"), str):
        return None
    return cast("dict[str, Any]", value)


def _key(record: Mapping[str, Any]) -> Key:
    return str(record["id"]), int(record.get("sample", 0))


def _difference(record: Mapping[str, Any], run: RunKey, questions: Mapping[str, str]) -> str | None:
    """How a result differs from what this run would give."""
    if record.get("config_hash") != run.config_hash:
        return f"config_hash {record.get('config_hash')!r}, here {run.config_hash!r}"
    if record.get("seed") != run.seed:
        return f"seed {record.get('seed')!r}, here {run.seed!r}"
    asked = questions.get(str(record["id"]))
    if asked is not None and record.get("question") != asked:
        return f"another question of id {record['id']!r}"
    return None


def _line(record: Mapping[str, Any]) -> bytes:
    return json.dumps(record, ensure_ascii=False).encode() + b"\n"


def _flush(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _same_file(file: IO[bytes], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
