"""Reads questions from a JSON Lines file. A bad line is reported; it never stops the others."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from rsdecode.core.conversation import check_question, check_text
from rsdecode.core.errors import ConfigError, InputError
from rsdecode.core.types import Message
from rsdecode.evals.datasets.conversation import with_conversation

READ = frozenset(
    {
        "id",
        "ID",
        "question",
        "problem",
        "Question",
        "Body",
        "answer",
        "Answer",
        "messages",
        "system",
    }
)
"""Keys of a question that are read."""


@dataclass(frozen=True, slots=True)
class Question:
    """One question of an input.

    Attributes:
        answer: the reference answer, carried to the output.
        before: the messages before the question.
    """

    id: str
    text: str
    answer: str | None = None
    before: tuple[Message, ...] = ()

    @property
    def conversation(self) -> list[dict[str, str]]:
        """All messages as JSON objects, the question last; empty for a question alone."""
        if not self.before:
            return []
        messages = [*self.before, Message("user", self.text)]
        return [{"role": message.role, "content": message.content} for message in messages]


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that holds no usable question."""

    number: int
    reason: str


def read_questions(
    path: Path, limit: int | None = None, unused: dict[str, int] | None = None
) -> tuple[list[Question], list[BadLine]]:
    """Read a file of `{"id"?, "question", "answer"?}` lines, or a `.json` file with a list of them.

    The question may be called `problem`, or be `Body` and `Question` as in SVAMP (whose `ID` and
    `Answer` are read too); `messages` and `system` are what was said before it. The id defaults to
    the line number. Empty lines are skipped.

    Args:
        path: of the file.
        limit: read no further than the line of the last of so many questions; None for all.
        unused: is given the keys that are not read, and the line of the first of each.

    Raises:
        ConfigError: the file cannot be read, or it is in another format: no line is a JSON object.
    """
    questions: dict[str, Question] = {}
    bad: list[BadLine] = []
    first_seen: dict[str, int] = {}
    for number, line in read_lines(path):
        try:
            entry = read_object(line)
            question = as_question(entry, number)
            if unused is not None:
                for key in entry.keys() - READ:
                    unused.setdefault(key, number)
            if question.id in questions:
                before = first_seen[question.id]
                raise InputError(f"the id {question.id!r} was given before, in line {before}")
        except InputError as error:
            bad.append(BadLine(number, str(error)))
        else:
            questions[question.id] = question
            first_seen[question.id] = number
            if len(questions) == limit:
                break
    if not questions and bad and all(line.reason.startswith(_NOT_JSON) for line in bad):
        raise ConfigError(f"{path}: no line of it is a JSON object{_instead(path)}")
    return list(questions.values()), bad


def _instead(path: Path) -> str:
    """What a file without JSON Lines seems to hold, and what to do."""
    _, line = next(read_lines(path))
    text = line.decode("utf-8", "replace").strip()
    if text.startswith("{"):
        return (
            ": it seems to hold one object over several lines; write each question on a line of "
            "its own, or all of them as a list into a .json file"
        )
    if text.startswith("[") and path.suffix != ".json":
        return ": it seems to hold a list, which is read from files whose name ends in .json"
    if path.suffix != ".json" and ("," in text or "\t" in text):
        sep = ", sep='\\t'" if "\t" in text else ""
        return (
            ": it seems to hold a table; with pandas: read_csv(FILE"
            f"{sep}).to_json('questions.jsonl', orient='records', lines=True)"
        )
    return ', such as {"question": "How much is 1 + 1?"}: write each question so'


def read_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines of a file that are not empty, with their numbers.

    A list in a `.json` file is read as if each of its entries were a line, and so is an object that
    takes several lines.

    Raises:
        ConfigError: the file cannot be read, or is no JSON.
    """
    if path.suffix == ".json" and (entries := _entries(path)) is not None:
        yield from ((at, json.dumps(entry).encode()) for at, entry in enumerate(entries, start=1))
        return
    with _readable(path), path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            text = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
            if text.strip():
                yield number, text.rstrip(b"\n")


def _entries(path: Path) -> list[Any] | None:
    """The entries of a JSON list, or one object over several lines; None of a file of lines."""
    with _readable(path), path.open("rb") as file:
        start = b""
        while not start and (chunk := file.read(1 << 10)):
            start = chunk.removeprefix(b"\xef\xbb\xbf").lstrip()
        if start.startswith(b"{"):
            start += b"" if b"\n" in start else file.readline()
            if _loaded(start.partition(b"\n")[0]) is None:  # not a line of JSON Lines
                entry = _loaded(start + file.read())
                return None if entry is None else [entry]
        if not start.startswith(b"["):
            return None
        try:
            return cast("list[Any]", json.loads(start + file.read()))
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"{path}: not JSON: {error}") from None


def _loaded(text: bytes) -> Any:
    """What JSON says; None where it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def file_digest(path: Path, mark: bytes) -> tuple[str, bool]:
    """Hex digits of a file's content, and whether it holds `mark`.

    Raises:
        ConfigError: the file cannot be read.
    """
    found, marked, end = hashlib.sha256(), False, b""
    with _readable(path), path.open("rb") as file:
        while chunk := file.read(1 << 20):
            found.update(chunk)
            marked = marked or mark in end + chunk
            end = chunk[-len(mark) :]
    return found.hexdigest(), marked


_NOT_JSON = ("not JSON:", "not UTF-8 text", "not a JSON object")


@contextmanager
def _readable(path: Path) -> Generator[None]:
    try:
        yield
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such file") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None


def read_question(line: bytes, number: int) -> Question:
    """Read one line.

    Raises:
        InputError: it is not UTF-8, not a JSON object, or has no question.
    """
    return as_question(read_object(line), number)


def as_question(entry: Mapping[str, Any], number: int) -> Question:
    """The question of an object.

    Raises:
        InputError: it has none, or one that is not text alone.
    """
    entry, before = with_conversation(entry)
    text = check_question(question_text(entry))
    id = next((entry[k] for k in ("id", "ID") if entry.get(k) is not None), number)
    if isinstance(id, bool) or not isinstance(id, (str, int)) or id == "":
        raise InputError(f"the id {id!r} must be a text or a whole number")
    return Question(
        check_text(str(id)),
        text,
        answer_text(entry.get("answer", entry.get("Answer"))),
        before,
    )


def read_object(line: bytes) -> dict[str, Any]:
    """The JSON object of one line.

    Raises:
        InputError: it is not UTF-8, or not a JSON object.
    """
    try:
        fields: Any = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 text (byte {error.start + 1} of the line)") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"not JSON: {error}") from None
    if not isinstance(fields, dict):
        raise InputError('not a JSON object, such as {"question": "..."}')
    return cast("dict[str, Any]", fields)


def question_text(entry: Mapping[str, Any]) -> str:
    """The question of an object.

    Raises:
        InputError: it has none, or it is not a text.
    """
    given = [name for name in ("question", "problem", "Question") if name in entry]
    names = [name for name in given if entry[name] is not None] or given
    if not names:
        found = ", ".join(map(repr, list(entry)[:8])) or "no keys"
        raise InputError(f'no "question" (or "problem", "Question"); found {found}')
    parts = [entry[names[0]]]
    if names[0] == "Question" and "Body" in entry:
        parts.insert(0, entry["Body"])
    if not all(isinstance(part, str) for part in parts):
        raise InputError(f"{names[0]!r} must be a text, not {parts[-1]!r}")
    return " ".join(parts)


def answer_text(value: Any) -> str | None:
    """An answer as text: 145 for 145.0, JSON for what is neither a number nor a text."""
    if value is None or isinstance(value, str):
        return value
    whole = isinstance(value, float) and value.is_integer()
    return str(int(value)) if whole else json.dumps(value)
