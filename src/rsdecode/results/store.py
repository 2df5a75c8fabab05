"""Where `rsd eval` keeps its results: a folder of cells, one for each data set, method and key.

    DIR/run.json                         what was asked last (for people)
    DIR/cells/DATA--METHOD--KEY.json     what the cell was made with (`Meta`)
    DIR/cells/DATA--METHOD--KEY.jsonl    one line for each finished answer, appended and flushed

A shard `i/n` has files of its own, DATA--METHOD--KEY--i-of-n. The last entry of a line is the
CRC-32 of the rest of it. A torn last line, damaged lines and answers that ended with `error` or
`cancelled` are dropped when the cell is written again, and solved again.
"""

from __future__ import annotations

import json
import os
import re
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, cast

from rsdecode.core.errors import ConfigError
from rsdecode.results.locked_file import LockedFile

RETRIED = ("error", "cancelled")
Key = tuple[str, int]
"""Problem id and sample."""
_CRC = b', "crc": "'
_NAME_LENGTH = 60


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

    @property
    def name(self) -> str:
        """The name of the cell's files, without their suffix."""
        parts = [_safe(self.data), _safe(self.method), self.key]
        return "--".join([*parts, Shard.parse(self.shard).suffix] if self.shard else parts)


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


class Lines(NamedTuple):
    """What a file of results holds.

    Attributes:
        damaged: numbers of the lines whose checksum fails, the last one excepted.
        torn: whether the last line is cut off.
    """

    records: list[dict[str, Any]]
    damaged: list[int]
    torn: bool


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


def finished_first(records: Iterable[dict[str, Any]]) -> dict[Key, dict[str, Any]]:
    """One record for each answer: the first that needs no other try, or the first of all."""
    chosen: dict[Key, dict[str, Any]] = {}
    for record in records:
        key = str(record["id"]), int(record["sample"])
        if key not in chosen or (is_retried(chosen[key]) and not is_retried(record)):
            chosen[key] = record
    return chosen


def is_retried(record: Mapping[str, Any]) -> bool:
    """Whether the answer failed for a reason of its run: the next run tries again."""
    return record["stop_reason"] in RETRIED


class Store:
    """A folder of cells, locked for this process until it is closed (use as a context manager).

    Shards may write into one folder at the same time; without shards, only one process may.

    Raises:
        ConfigError: the folder cannot be written, or another process writes into it.
    """

    def __init__(self, folder: Path, shard: Shard | None = None) -> None:
        self._folder = folder
        self._locks: list[LockedFile] = []
        name = f"--out {folder}"
        try:
            self.cells.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"{name}: cannot be written: {error.strerror}") from None
        try:
            lock = LockedFile(folder / ".lock", name, shared=shard is not None)
            self._locks.append(lock)
            if shard is not None:
                own = folder / f".lock-{shard.suffix}"
                self._locks.append(LockedFile(own, f"shard {shard} of {name}"))
        except BaseException:
            self.close()
            raise

    @property
    def cells(self) -> Path:
        """Where the cells are."""
        return self._folder / "cells"

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def describe(self, asked: Mapping[str, Any]) -> None:
        """Write down what was asked."""
        _write_json(self._folder / "run.json", asked)

    def cell(self, meta: Meta) -> ResultFile:
        """Open a cell; nothing is changed before its `begin`."""
        return ResultFile(self.cells, meta)

    def close(self) -> None:
        """Let others write."""
        for lock in self._locks:
            lock.close()


class ResultFile:
    """The lines of one cell, as this process writes them; close it in the end.

    Attributes:
        found: what the file held.
        answers: one record for each answer, of all shards; grows with what is appended.
    """

    def __init__(self, folder: Path, meta: Meta) -> None:
        self._folder = folder
        self._file: LockedFile | None = None
        self._path = folder / f"{meta.name}.jsonl"
        self._meta = meta
        for description in (path.with_suffix(".json") for path in [self._path, *self._others()]):
            if description.exists():
                self._meta = _widened(self._meta, _read_meta(description))
        self.found = parse_lines(self._path.read_bytes() if self._path.exists() else b"")
        others = (parse_lines(path.read_bytes()).records for path in self._others())
        self.answers = finished_first([*self.found.records, *chain.from_iterable(others)])

    @property
    def meta(self) -> Meta:
        """What the cell is made with, by this run and those before it."""
        return self._meta

    @property
    def name(self) -> str:
        """The file."""
        return str(self._path)

    @property
    def done(self) -> dict[Key, dict[str, Any]]:
        """Answers that need no other try."""
        return {key: record for key, record in self.answers.items() if not is_retried(record)}

    def begin(self, shapes: Mapping[str, Mapping[str, Any] | None]) -> None:
        """Write down what the cell is made with, and bring the file to what is kept of it.

        Args:
            shapes: of the models.
        """
        self._meta = replace(self._meta, shapes=shapes)
        self._describe()
        self._file = LockedFile(self._path, self.name)
        kept = finished_first(r for r in self.found.records if not is_retried(r))
        data = b"".join(as_line(record) for record in kept.values())
        if self._file.read() != data:
            self._file.replace(data)

    def append(self, record: dict[str, Any]) -> None:
        """Write one answer so that it outlives a crash."""
        if self._file is None:
            raise RuntimeError("a cell is written between its begin() and its close()")
        self._file.append(as_line(record))
        self.answers[record["id"], record["sample"]] = record

    def close(self, notes: Iterable[str] = ()) -> None:
        """Let others write.

        Args:
            notes: what the models noted (see `Meta`).
        """
        if self._file is None:
            return
        if new := dict.fromkeys(notes) | dict.fromkeys(self._meta.notes):
            self._meta = replace(self._meta, notes=tuple(sorted(new)))
            self._describe()
        self._file.close()

    def _describe(self) -> None:
        """Write down what the cell is made with."""
        _write_json(self._folder / f"{self._meta.name}.json", asdict(self._meta))

    def _others(self) -> list[Path]:
        """The files of other shards of this cell, and of the whole."""
        whole = replace(self._meta, shard=None).name
        paths = {self._folder / f"{whole}.jsonl", *self._folder.glob(f"{whole}--*-of-*.jsonl")}
        return sorted(path for path in paths - {self._path} if path.exists())


def _widened(meta: Meta, before: Meta) -> Meta:
    """With what was known and asked for before."""
    shapes = {**before.shapes, **meta.shapes}
    problems = max(before.problems, meta.problems)
    return replace(meta, shapes=shapes, problems=problems, notes=before.notes)


def as_line(record: Mapping[str, Any]) -> bytes:
    """A record and its checksum."""
    body = json.dumps(record).encode("ascii")
    return b'%s%s%08x"}\n' % (body[:-1], _CRC, zlib.crc32(body))


def parse_lines(data: bytes) -> Lines:
    """Read lines and check them. Whole lines survive whatever happened to the others."""
    lines = data.split(b"\n")
    records: list[dict[str, Any]] = []
    damaged: list[int] = []
    for number, line in enumerate(lines, start=1):
        record = _parse_line(line)
        if record is not None:
            records.append(record)
        elif line and number < len(lines):
            damaged.append(number)
    return Lines(records, damaged, torn=bool(lines[-1]) and _parse_line(lines[-1]) is None)


def _parse_line(line: bytes) -> dict[str, Any] | None:
    head, mark, tail = line.rpartition(_CRC)
    body = head + b"}"
    if not mark or tail != b'%08x"}' % zlib.crc32(body):
        return None
    return cast("dict[str, Any]", json.loads(body))


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
    """Write a whole file, or nothing."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with new.open("wb") as file:
            file.write(json.dumps(value, indent=2).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, path)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from None


def _safe(name: str) -> str:
    """A name that any file system takes."""
    return re.sub(r"[^\w.,@=+-]+", "-", name, flags=re.ASCII)[-_NAME_LENGTH:].strip("-.")
