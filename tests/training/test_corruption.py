from __future__ import annotations

import re
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from rsdecode.models.abacus import model_path
from rsdecode.text.pretrained import load_tokenizer
from rsdecode.text.vocabulary import Vocabulary
from rsdecode.training.corruption import corrupted_copies
from rsdecode.training.solutions import LabelledSolution, LabelledStep
from rsdecode.training.train_data import UNKNOWN, make_examples
from rsdecode.training.train_settings import TrainSettings

TEXTS = ("Adding 12 gives 13 + 12 = 25 seeds.", "So none.", "Half of 25 + 7 is 32 / 2 = 16 seeds.")
RIGHT = LabelledSolution("a/0", "a", "How many?", tuple(LabelledStep(t, True) for t in TEXTS))


@given(st.integers(0, 10_000))
def test_digits_are_replaced_and_nothing_is_right_from_the_first_on(seed: int) -> None:
    [copy] = corrupted_copies([RIGHT], 1, seed)
    changed = [copy.steps[i].text != text for i, text in enumerate(TEXTS)]
    assert any(changed)
    for step, text in zip(copy.steps, TEXTS, strict=True):
        assert step.original == text
        assert re.sub(r"\d", "0", step.text) == re.sub(r"\d", "0", text)
    first = changed.index(True)
    assert [step.right for step in copy.steps] == [place < first for place in range(3)]


def test_only_right_solutions_with_digits_of_their_own_are_copied() -> None:
    wrong = replace(RIGHT, steps=(*RIGHT.steps[:2], replace(RIGHT.steps[2], right=False)))
    words = replace(RIGHT, steps=RIGHT.steps[1:2])
    assert not corrupted_copies([wrong, words], 3, 0)
    given = replace(RIGHT, given=2)
    assert all(c.texts[:2] == TEXTS[:2] for c in corrupted_copies([given], 20, 0))
    assert len(corrupted_copies([RIGHT] * 200, 0.5, 0)) in (0, 200)  # the same one each time
    several = [replace(RIGHT, id=f"{n}") for n in range(200)]
    assert 70 < len(corrupted_copies(several, 0.5, 0)) < 130


def test_each_token_is_known_to_be_right_or_replaced() -> None:
    vocabulary = Vocabulary(load_tokenizer(str(model_path("draft"))))
    settings = TrainSettings(mark="\n\n")
    copies = corrupted_copies([replace(RIGHT, id=f"{n}") for n in range(30)], 1, 0)
    [plain] = make_examples([RIGHT], vocabulary, settings, 512).examples
    examples = make_examples(copies, vocabulary, settings, 512).examples
    start = plain.spots.index(1)
    assert all(spot == UNKNOWN for spot in plain.spots[:start])
    assert set(plain.spots[start:]) == {1, UNKNOWN}
    for copy, example in zip(copies, examples, strict=True):
        for place in range(start, len(example.ids)):
            if example.spots[place] != UNKNOWN:
                assert example.spots[place] == (example.ids[place] == plain.ids[place])
        ends = [place for place, spot in enumerate(plain.spots) if spot == UNKNOWN][start:]
        assert [example.spots[place] for place in ends] == [UNKNOWN] * 3  # the marks
        assert list(example.marks) == ends[: len(example.marks)]
        assert len(example.marks) == min(3, (copy.first_wrong or 0) + 1)
        assert 0 in example.spots
