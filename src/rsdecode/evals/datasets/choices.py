"""Multiple choice: rows with choices, and the order and letters that the choices get."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from string import ascii_uppercase
from typing import cast

from rsdecode.core.conversation import check_question
from rsdecode.core.errors import InputError
from rsdecode.evals.datasets.entry import Item, RawQuestion, Reader, first, own_id
from rsdecode.evals.datasets.lines import question_text


def choices(
    *,
    wrong: Sequence[str] = (),
    right: str = "",
    subjects: Collection[str] = (),
    id: Sequence[str] = ("id", "ID", "idx"),
) -> Reader:
    """A reader of questions with "choices" and their "answer": a letter, or a number from 0.

    Args:
        wrong: fields of the wrong choices, in data sets that give each choice its own field.
        right: field of the right one.
        subjects: those that belong to the data set ("subject" or "type" of a row); all if empty.
        id: names of the field; the first one that a row has counts.
    """

    def read(row: RawQuestion) -> Item | None:
        subject = first(row, ("subject", "type"))
        if subjects and subject is not None and subject not in subjects:
            return None
        question, name = check_question(question_text(row)), own_id(row, id)
        if right in row:
            texts = [row[right], *(row[field] for field in wrong)]
            return Item(question, _choice(texts[0]), name, tuple(map(_choice, texts[1:])))
        answer, others = _picked(row)
        return Item(question, answer, name, others)

    return read


def lettered(item: Item, key: str) -> tuple[str, str]:
    """The question with its choices, and the letter of the right one.

    Args:
        item: a question with choices.
        key: what the order of the choices is drawn from.
    """
    texts = [item.answer, *item.wrong]
    order = list(range(len(texts)))
    random.Random(key).shuffle(order)
    parts = [f"({letter}) {texts[at]}" for letter, at in zip(ascii_uppercase, order, strict=False)]
    question = f"{item.question}\nAnswer Choices: {' '.join(parts)}"
    return question, ascii_uppercase[order.index(0)]


def _picked(row: RawQuestion) -> tuple[str, tuple[str, ...]]:
    found, answer = row.get("choices"), row.get("answer")
    texts = list(cast("Sequence[object]", found)) if isinstance(found, (list, tuple)) else []
    if not 2 <= len(texts) <= len(ascii_uppercase):
        raise InputError(f'"choices" must be a list of 2 to 26 texts, not {found!r}')
    if isinstance(answer, str) and answer.strip().upper() in list(ascii_uppercase):
        answer = ascii_uppercase.index(answer.strip().upper())
    if isinstance(answer, bool) or not isinstance(answer, int) or not 0 <= answer < len(texts):
        raise InputError(
            f'"answer" must be the letter of a choice or its number from 0, not {answer!r}'
        )
    stripped = [_choice(text) for text in texts]
    return stripped[answer], tuple(stripped[:answer] + stripped[answer + 1 :])


def _choice(text: object) -> str:
    return str(text).strip()
