"""The output file of `rsd solve`: the answers of one run, which goes on where it was cut off."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rsdecode.core.errors import ConfigError
from rsdecode.results.answer_file import AnswerFile
from rsdecode.results.file_lock import FileLock
from rsdecode.results.lines import Key, is_retried

_REMEDY = "choose another --output, or start it anew with --overwrite"


@dataclass(frozen=True, slots=True)
class RunKey:
    """What must be the same for results to stay in one file."""

    config_hash: str
    seed: int


class OutputFile(AnswerFile):
    """An output file, locked for this process until it is closed.

    Args:
        path: the file; created if it does not exist.
        overwrite: forget what it holds.

    Attributes:
        warning: what the user should know about its lock; None where all is well.

    Raises:
        ConfigError: it cannot be written, is in use, or holds something else than results.
    """

    def __init__(self, path: Path, *, overwrite: bool = False) -> None:
        name = f"--output {path}"
        if path.exists() and not path.is_file():
            raise ConfigError(f"{name} is not a file; --json prints results to stdout")
        self._overwrite = overwrite
        self._lock = _locked(Path(os.path.realpath(path)), name)
        self.warning = self._lock.warning
        try:
            super().__init__(path, name, readable=True)
            if self.found.foreign and not overwrite:
                line = self.found.foreign[0]
                raise ConfigError(f"{name}: line {line} is not a result of rsd solve: {_REMEDY}")
        except BaseException:
            self._lock.release()
            raise

    def done(self, run: RunKey, questions: Mapping[str, str]) -> set[Key]:
        """Which samples of which problems the file holds already.

        Args:
            run: of this run.
            questions: by problem id.

        Raises:
            ConfigError: the file belongs to another configuration, seed or set of questions.
        """
        if self._overwrite:
            return set()
        for record in self.found.records:
            if difference := _difference(record, run, questions):
                raise ConfigError(
                    f"{self.name} holds results of another run ({difference}): {_REMEDY}"
                )
        return {key for key, record in self.answers.items() if not is_retried(record)}

    def begin(self) -> None:
        """Bring the file to what is kept of it; nothing is changed before this is called."""
        self.start(afresh=self._overwrite)
        self.found.records.clear()
        self.answers.clear()  # there may be millions of them

    def close(self) -> None:
        """Wait until all is on the disk, and let others write."""
        try:
            super().close()
        finally:
            self._lock.release()


def _locked(path: Path, name: str) -> FileLock:
    try:
        path.open("ab").close()
    except OSError as error:
        raise ConfigError(f"{name}: cannot be written: {error.strerror}") from None
    return FileLock(path.with_name(f".lock-{path.name}"), name)


def asked_text(question: Any, messages: Any) -> Any:
    """What tells questions apart: the text or, where there is more, the whole conversation."""
    return json.dumps(messages) if messages else question


def _difference(record: Mapping[str, Any], run: RunKey, questions: Mapping[str, str]) -> str | None:
    """How a result differs from what this run would give."""
    if record.get("config_hash") != run.config_hash:
        return f"config_hash {record.get('config_hash')!r}, here {run.config_hash!r}"
    if record.get("seed") != run.seed:
        return f"seed {record.get('seed')!r}, here {run.seed!r}"
    asked = questions.get(str(record["id"]))
    here = asked_text(record.get("question"), record.get("messages"))
    if asked is not None and here != asked:
        return f"another question of id {record['id']!r}"
    return None
