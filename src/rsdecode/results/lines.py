"""Answers as lines of a file: JSON objects, each ending with the CRC-32 of the rest of its line."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, cast

RETRIED = ("error", "cancelled")
Key = tuple[str, int]
"""Problem id and sample."""
_CRC = b', "crc": "'


class Lines(NamedTuple):
    """What a file of answers holds.

    Attributes:
        records: one for each whole line.
        damaged: numbers of the lines that are not whole, the last one excepted.
        foreign: those of them without a checksum, which another program may have written.
        torn: whether the last line is cut off.
    """

    records: list[dict[str, Any]]
    damaged: list[int]
    foreign: list[int]
    torn: bool


def as_line(record: Mapping[str, Any], *, ascii_only: bool = True) -> bytes:
    """A record and its checksum.

    Args:
        record: JSON values.
        ascii_only: write other characters as escapes; else only what UTF-8 has no bytes for.
    """
    try:
        body = json.dumps(record, ensure_ascii=ascii_only).encode()
    except UnicodeEncodeError:
        body = json.dumps(record).encode()
    return b'%s%s%08x"}\n' % (body[:-1], _CRC, zlib.crc32(body))


def parse_lines(data: bytes, *, plain: bool = False) -> Lines:
    """Read lines and check them. Whole lines survive whatever happened to the others.

    Args:
        data: of the file.
        plain: take answers without a checksum too, as earlier versions wrote them.
    """
    lines = data.split(b"\n")
    found = Lines([], [], [], torn=bool(lines[-1]) and _parse_line(lines[-1], plain) is None)
    for number, line in enumerate(lines, start=1):
        record = _parse_line(line, plain)
        if record is not None:
            found.records.append(record)
        elif line.strip() and number < len(lines):
            found.damaged.append(number)
            if _CRC not in line:
                found.foreign.append(number)
    return found


def key_of(record: Mapping[str, Any]) -> Key:
    """Which answer it is."""
    return str(record["id"]), int(record.get("sample", 0))


def is_retried(record: Mapping[str, Any]) -> bool:
    """Whether the answer failed for a reason of its run: the next run tries again."""
    return record.get("stop_reason") in RETRIED


def finished_first(records: Iterable[dict[str, Any]]) -> dict[Key, dict[str, Any]]:
    """One record for each answer: the first that needs no other try, or the first of all."""
    chosen: dict[Key, dict[str, Any]] = {}
    for record in records:
        key = key_of(record)
        if key not in chosen or (is_retried(chosen[key]) and not is_retried(record)):
            chosen[key] = record
    return chosen


def _parse_line(line: bytes, plain: bool) -> dict[str, Any] | None:
    head, mark, tail = line.rpartition(_CRC)
    body = head + b"}"
    if mark and tail == b'%08x"}' % zlib.crc32(body):
        return cast("dict[str, Any]", json.loads(body))
    if not plain or mark:
        return None
    try:
        value: Any = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or not isinstance(cast("Any", value).get("id"), str):
        return None
    return cast("dict[str, Any]", value)
