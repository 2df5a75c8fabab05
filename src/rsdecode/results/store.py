"""Where `rsd eval` keeps its results: a folder of cells, one for each data set, method and key.

    DIR/run.json                         what was asked last (for people)
    DIR/cells/DATA--METHOD--KEY.json     what the results were made with (`Meta`)
    DIR/cells/DATA--METHOD--KEY.jsonl    a line for each finished answer (`AnswerFile`)

A shard `i/n` has files of its own, DATA--METHOD--KEY--i-of-n.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from rsdecode.core.errors import ConfigError
from rsdecode.results.answer_file import AnswerFile, replace_file
from rsdecode.results.file_lock import FileLock
from rsdecode.results.lines import Key, finished_first, is_retried, key_of, parse_lines

_NAME_LENGTH = 60
LOCK_WAIT_S = 1.0
"""Another process that comes at the same moment has the folder's lock for less."""


@dataclass(frozen=True, slots=True)
class Shard:
    """The part `index` of `count` of a run; its problems are every `count`-th."""

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read `i/n`.

        Raises:
            ConfigError: it is not `i/n` with 1 <= i <= n.
        """
        match = re.fullmatch(r"(\d+)/(\d+)", text)
        shard = cls(int(match[1]), int(match[2])) if match else cls(0, 0)
        if not 1 <= shard.index <= shard.count:
            raise ConfigError(f"shard {text!r} must be i/n with 1 <= i <= n, for example 1/4")
        return shard

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    @property
    def suffix(self) -> str:
        """What its files' names end with."""
        return f"{self.index}-of-{self.count}"

    def takes(self, position: int) -> bool:
        """Whether the problem at `position` of the data set is its own."""
        return position % self.count == self.index - 1


@dataclass(frozen=True, slots=True)
class Meta:
    """What a cell was made with.

    Attributes:
        key: names everything that changes results (see `rsdecode.results.identity`).
        config: the resolved configuration.
        shapes: of the models by role, for the FLOPs; None where not known or not needed.
        problems: how many were asked for at most, of all shards together.
        shard: `i/n`, or None for all.
        notes: what the models noted of their prompts (see `core.protocols.Noted`).
        code: which code made it (see `rsdecode.results.code_version`).
    """

    data: str
    method: str
    key: str
    config: Mapping[str, Any]
    shapes: Mapping[str, Mapping[str, Any] | None]
    version: str
    seed: int
    problems: int
    shard: str | None = None
    notes: tuple[str, ...] = ()
    code: str = ""

    @property
    def name(self) -> str:
        """The name of the result set's files, without their suffix."""
        parts = [self.stem, self.key]
        return "--".join([*parts, Shard.parse(self.shard).suffix] if self.shard else parts)

    @property
    def stem(self) -> str:
        """What the names of all cells of the data set and method begin with."""
        return f"{_safe(self.data)}--{_safe(self.method)}"


@dataclass(frozen=True, slots=True)
class ResultSet:
    """Results of one method on one data set.

    Attributes:
        records: one for each answer, by problem id and sample.
        damaged: lines that could not be read, torn ones included.
    """

    meta: Meta
    records: list[dict[str, Any]]
    damaged: int = 0


def read_result_sets(*folders: Path) -> list[ResultSet]:
    """The cells of folders, shards merged; a run may be under way in them.

    Raises:
        ConfigError: a folder holds no results, or a cell's description cannot be read.
    """
    parts: dict[tuple[str, str, str], list[ResultSet]] = {}
    for folder in folders:
        paths = sorted((folder / "cells").glob("[!.]*.json"))
        if not paths:
            raise ConfigError(
                f"{folder} holds no results of rsd eval: give the folder of its --out"
            )
        for path in paths:
            cell = _read_cell(path)
            key = cell.meta.data, cell.meta.method, cell.meta.key
            parts.setdefault(key, []).append(cell)
    return [merge_result_sets(cells) for cells in parts.values()]


def merge_result_sets(parts: Iterable[ResultSet]) -> ResultSet:
    """One cell of the parts of one: shards, or the same cell of several folders."""
    cells = list(parts)
    first = cells[0].meta
    shapes = dict(first.shapes)
    for cell in cells[1:]:
        shapes |= {role: shape for role, shape in cell.meta.shapes.items() if shape is not None}
    whole = len(cells) > 1 or first.shard is None
    meta = replace(
        first,
        shapes=shapes,
        problems=max(cell.meta.problems for cell in cells),
        shard=None if whole else first.shard,
    )
    records = finished_first(record for cell in cells for record in cell.records)
    ordered = [records[key] for key in sorted(records)]
    return ResultSet(meta, ordered, sum(cell.damaged for cell in cells))


class Store:
    """A folder of cells, locked for this process until it is closed (use as a context manager).

    Shards may write into one folder at the same time; without shards, only one process may.

    Attributes:
        warning: what the user should know about its lock; None where all is well.

    Raises:
        ConfigError: the folder cannot be written, or another process writes into it.
    """

    def __init__(self, folder: Path, shard: Shard | None = None) -> None:
        self._folder = folder
        name = f"--out {folder}"
        try:
            self.cells.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"{name}: cannot be written: {error.strerror}") from None
        self._lock = _lock_folder(folder, shard, name)
        self.warning = self._lock.warning

    @property
    def cells(self) -> Path:
        """Where the result sets are."""
        return self._folder / "cells"

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def cell(self, meta: Meta) -> ResultFile:
        """The cell that is described; nothing is written before its `begin`."""
        return ResultFile(self.cells, meta)

    def older(self, meta: Meta) -> list[Path]:
        """Cells of the same method, data and configuration that other code has made."""
        found: list[Path] = []
        for path in sorted(self.cells.glob(f"{meta.stem}--*.json")):
            other = _read_meta(path)
            made_with = other.data, other.method, dict(other.config)
            same = made_with == (meta.data, meta.method, json.loads(json.dumps(meta.config)))
            if same and other.code != meta.code and other.key != meta.key:
                found.append(path)
        return found

    def describe(self, asked: Mapping[str, Any]) -> None:
        """Write down what is asked for, for people."""
        _write_json(self._folder / "run.json", asked)

    def close(self) -> None:
        """Let others write."""
        self._lock.release()


class ResultFile(AnswerFile):
    """The answers of one cell, as this process writes them.

    Attributes:
        meta: what the results are made with, by this run and those before it.
        answers: those of all shards.
    """

    def __init__(self, folder: Path, meta: Meta) -> None:
        path = folder / f"{meta.name}.jsonl"
        super().__init__(path, str(path))
        others = _other_shards(folder, meta)
        self._description = path.with_suffix(".json")
        self.meta = meta
        for description in (other.with_suffix(".json") for other in [path, *others]):
            if description.exists():
                self.meta = _widened(self.meta, _read_meta(description))
        theirs = (parse_lines(other.read_bytes()).records for other in others)
        self.answers = finished_first([*self.found.records, *chain.from_iterable(theirs)])

    @property
    def done(self) -> dict[Key, dict[str, Any]]:
        """Answers that need no other try."""
        return {key: record for key, record in self.answers.items() if not is_retried(record)}

    def begin(self, shapes: Mapping[str, Mapping[str, Any] | None]) -> None:
        """Write down what the results are made with, and get ready to write answers.

        Args:
            shapes: of the models.

        Raises:
            StorageError: they cannot be written.
        """
        self.meta = replace(self.meta, shapes=shapes)
        self._describe()
        self.start()

    def append(self, record: dict[str, Any]) -> None:
        """Write one answer soon.

        Raises:
            StorageError: an answer could not be written.
        """
        self.answers[key_of(record)] = record
        super().append(record)

    def close(self, notes: Iterable[str] = ()) -> None:
        """Wait until all is on the disk.

        Args:
            notes: what the models noted (see `Meta`).

        Raises:
            StorageError: something could not be written.
        """
        super().close()
        if self._writer is None:
            return
        if new := dict.fromkeys(notes) | dict.fromkeys(self.meta.notes):
            self.meta = replace(self.meta, notes=tuple(sorted(new)))
            self._describe()

    def _describe(self) -> None:
        """Write down what the results are made with."""
        _write_json(self._description, asdict(self.meta))


def _lock_folder(folder: Path, shard: Shard | None, name: str) -> FileLock:
    """Keep the whole folder, or a shard's part of it, to this process.

    Whoever comes takes the folder's lock first. A run without shards keeps it, if no shard's lock
    is held; a shard takes its own lock and gives the folder's back.
    """
    whole = FileLock(folder / ".lock", name, wait_s=LOCK_WAIT_S)
    lock = whole
    try:
        if shard is not None:
            lock = FileLock(folder / f".lock-{shard.suffix}", f"shard {shard} of {name}")
        for path in folder.glob(".lock-*") if shard is None else ():
            if re.fullmatch(r"\.lock-\d+-of-\d+", path.name):
                FileLock(path, name).release()
    except BaseException:
        whole.release()
        raise
    if lock is not whole:
        whole.release()
    return lock


def _other_shards(folder: Path, meta: Meta) -> list[Path]:
    """The files of other shards of a result set, and of the whole."""
    whole = replace(meta, shard=None).name
    paths = {folder / f"{whole}.jsonl", *folder.glob(f"{whole}--*-of-*.jsonl")}
    return sorted(path for path in paths - {folder / f"{meta.name}.jsonl"} if path.exists())


def _widened(meta: Meta, before: Meta) -> Meta:
    """With what was known and asked for before."""
    shapes = {**before.shapes, **meta.shapes}
    problems = max(before.problems, meta.problems)
    return replace(meta, shapes=shapes, problems=problems, notes=before.notes)


def _read_cell(path: Path) -> ResultSet:
    meta = _read_meta(path)
    lines = path.with_suffix(".jsonl")
    found = parse_lines(lines.read_bytes() if lines.exists() else b"")
    return ResultSet(meta, found.records, len(found.damaged) + found.torn)


def _read_meta(path: Path) -> Meta:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        found["notes"] = tuple(found.get("notes", ()))
        return Meta(**found)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(
            f"{path} does not describe results of rsd eval: {error}; "
            "give another folder, or remove this cell's two files"
        ) from None


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    replace_file(path, json.dumps(value, indent=2).encode() + b"\n", str(path))


def _safe(name: str) -> str:
    """A name that any file system takes."""
    return re.sub(r"[^\w.,@=+-]+", "-", name, flags=re.ASCII)[-_NAME_LENGTH:].strip("-.")
