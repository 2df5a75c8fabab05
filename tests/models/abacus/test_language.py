"""Which questions the embedded family can read."""

from __future__ import annotations

import pytest

from rsdecode.models.abacus import problems
from rsdecode.models.abacus.language import language_note, unreadable

STRANGERS = {
    "A train covers 60 miles in 2 hours. How far does it get in 5 hours?": {"train", "hours"},
    "Mia has 12 apples and eats 5. How many are left?": {"eats"},
    "A book costs 7 coins. How much do 6 books cost?": {"book", "costs", "much", "do"},
    "Tom has 9 marbles and wins 4 more. How many marbles does Tom have?": {"Tom", "wins"},
    "A rectangle is 8 cm long and 3 cm wide. What is its area?": {"rectangle", "cm", "area"},
    "The temperature falls from 15 to 9 degrees. By how much?": {"temperature", "falls", "from"},
    "Each of 4 tables seats 6 guests. How many guests can sit?": {"guests", "seats", "sit"},
    "Emma saves $20 a week. After how many weeks has she $140?": {"saves", "$", "week", "she"},
}
"""Plain word problems that it was not made for."""


@pytest.mark.parametrize("question", STRANGERS)
def test_words_that_it_never_saw(question: str) -> None:
    found = unreadable(question)
    assert STRANGERS[question] <= set(found.words)
    assert (found.no_number, found.nothing_asked) == (False, False)


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_its_own_problems(split: str) -> None:
    for problem in problems(split, limit=300):  # type: ignore[arg-type]
        assert not unreadable(problem.question), problem.question


def test_a_question_without_a_number_or_without_a_question() -> None:
    assert unreadable("How many apples does Ada have in the end?").no_number
    assert unreadable("Ada has 12 apples. Ada gets 3 more apples.").nothing_asked
    assert unreadable("Ada has 2.5 apples. How many apples are there at the end?").words == ("2.5",)


def test_the_line_for_one_question_and_for_many() -> None:
    [strange, *_] = STRANGERS
    fine = problems("test", limit=1)[0].question
    assert language_note([fine], ["abacus:draft"]) is None
    note = language_note([strange], ["abacus:draft", "abacus:target"])
    assert note is not None
    assert note.startswith(
        "this question is outside the language of abacus:draft and abacus:target (unknown: train, "
    )
    assert "--draft, --target and --reward" in note
    many = language_note([fine, *STRANGERS, "Prove it."], ["abacus:draft"])
    assert many is not None
    assert many.startswith("9 of 10 questions are outside")
    assert "more; no number; nothing is asked)" in many
