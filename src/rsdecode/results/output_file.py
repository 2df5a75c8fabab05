"""The output file of `rsd solve`: one JSON object per line, appended as each problem ends.

A run that was cut off goes on where it stopped. What is done stays; a torn last line and problems
that ended with `error` or `cancelled` are dropped from the file and solved again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from rsdecode.core.errors import ConfigError
from rsdecode.results.locked_file import LockedFile

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
        self._name = f"--output {path}"
        if path.exists() and not path.is_file():
            raise ConfigError(f"{self._name} is not a file; --json prints results to stdout")
        self._file = LockedFile(path, self._name)
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
        if self._file.read() != kept:
            self._file.replace(kept)

    def append(self, record: Mapping[str, Any]) -> None:
        """Write one result so that it outlives a crash."""
        self._file.append(_line(record))

    def close(self) -> None:
        """Let others write."""
        self._file.close()

    def _read_lines(self) -> list[dict[str, Any]]:
        """The results in the file. Only the last line may be torn."""
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
