"""What a data set is: where it lies, how its rows are read, how its answers are graded."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

from rsdecode.config.schema import STEP_BY_STEP
from rsdecode.core.conversation import check_question
from rsdecode.core.errors import InputError
from rsdecode.core.types import Message
from rsdecode.evals.datasets.lines import answer_text, question_text
from rsdecode.evals.grading.notation import final_answer
from rsdecode.evals.grading.verdict import AnswerKind

RawQuestion = Mapping[str, Any]
"""A row of the hub's table, or the JSON object of a line."""


@dataclass(frozen=True, slots=True)
class HubSource:
    """Where a data set lies on the Hugging Face hub.

    Attributes:
        gated: only for accounts that accepted its terms.
    """

    repo: str
    config: str | None = None
    split: str = "test"
    gated: bool = False

    def __str__(self) -> str:
        parts = [self.repo, *([self.config] if self.config else []), f"split {self.split}"]
        return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class Item:
    """A row, read.

    Attributes:
        answer: the final answer, or the text of the right choice; "" where there is none.
        id: of the row's own, where it has one.
        wrong: the other choices, of a multiple-choice question.
        before: the messages before the question.
    """

    question: str
    answer: str
    id: str | None = None
    wrong: tuple[str, ...] = ()
    before: tuple[Message, ...] = ()


Reader = Callable[[RawQuestion], Item | None]
"""Reads a row; None for one that does not belong to the data set."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """A data set.

    Attributes:
        source: on the hub; None for the embedded family and for a file of one's own.
        answer_type: what its answers are, and so how they are graded.
        prompt: the system message that it is meant to be asked with, or None. It is what
            `prompt.system: auto` stands for, unless only models of the embedded family write.
        partial: some rows do not belong to it; its reader drops them.
    """

    name: str
    read: Reader
    source: HubSource | None = None
    answer_type: AnswerKind = AnswerKind.MATH
    prompt: str | None = STEP_BY_STEP
    partial: bool = False


def fields(
    question: str | None = None,
    answer: Sequence[str] = ("answer", "Answer"),
    *,
    id: Sequence[str] = ("id", "ID", "idx"),
) -> Callable[[RawQuestion], Item]:
    """A reader of open questions.

    Args:
        question: name of the field; by default "question", "problem", or SVAMP's two.
        answer: names of the field; the first one that a row has counts. A solution gives its
            final answer, several answers are joined by commas.
        id: names of the field; the first one that a row has counts.
    """

    def read(row: RawQuestion) -> Item:
        text = question_text(row) if question is None else _text(row, question)
        return Item(check_question(text), _answer(row, answer), own_id(row, id))

    return read


def own_id(row: RawQuestion, names: Sequence[str] = ("id", "ID", "idx")) -> str | None:
    """The id of a row, if it has one.

    Raises:
        InputError: it is neither a text nor a whole number.
    """
    value = first(row, names)
    if value is None or (isinstance(value, (str, int)) and value != ""):
        return None if value is None or isinstance(value, bool) else str(value)
    raise InputError(f"the id {value!r} must be a text or a whole number")


def first(row: RawQuestion, names: Sequence[str]) -> Any:
    """The value of the first of these fields that the row has; None if it has none of them."""
    return next((row[name] for name in names if row.get(name) is not None), None)


def _answer(row: RawQuestion, names: Sequence[str]) -> str:
    value = first(row, names)
    if value is None:
        found = ", ".join(map(repr, list(row)[:8]))
        raise InputError(f"no {' or '.join(map(repr, names))}; found {found}")
    if (parts := _texts(value)) is not None:
        return ", ".join(map(final_answer, parts))
    return final_answer(answer_text(value) or "")


def _texts(value: Any) -> list[str] | None:
    """Several answers: a list of texts, which may be stored as JSON; [1, 2) is an interval."""
    if isinstance(value, str) and value.startswith("["):
        with suppress(ValueError):
            value = json.loads(value)
    if not isinstance(value, (list, tuple)):
        return None
    parts = cast("Sequence[object]", value)
    texts = [part for part in parts if isinstance(part, str)]
    return texts if len(texts) == len(parts) else None


def _text(row: RawQuestion, name: str) -> str:
    value = row.get(name)
    if not isinstance(value, str):
        found = ", ".join(map(repr, list(row)[:8]))
        raise InputError(f"{name!r} must be a text, not {value!r}; found {found}")
    return value
