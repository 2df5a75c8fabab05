from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsdecode.core.errors import InputError
from rsdecode.core.requests import TokenReward
from rsdecode.models.abacus import model_path
from rsdecode.text.pretrained import load_tokenizer
from rsdecode.text.vocabulary import Vocabulary
from rsdecode.training.solutions import LabelledSolution, LabelledStep, from_row, to_row
from rsdecode.training.train_data import UNKNOWN, labels_of_tokens, make_examples
from rsdecode.training.train_settings import TrainSettings

LABELLED = (TokenReward(4, 0.9), TokenReward(6, 0.1), TokenReward(9, 1.0))


@pytest.mark.parametrize(
    ("places", "labels"),
    [
        ((4, 6, 9), [0.9, 0.1, 1.0]),  # cut alike
        ((2, 4, 5, 6, 9), [0.9, 0.9, 0.1, 0.1, 1.0]),  # cut finer
        ((9,), [0.1]),  # cut coarser: as right as the worst
        ((5, 9), [0.1, 0.1]),  # cut across
        ((4, 6, 9, 10), [0.9, 0.1, 1.0, 1.0]),  # the mark lies behind the text
    ],
)
def test_labels_go_over_to_tokens_that_are_cut_otherwise(
    places: tuple[int, ...], labels: list[float]
) -> None:
    assert labels_of_tokens(LABELLED, places) == labels


@given(st.sets(st.integers(1, 30), min_size=1), st.sets(st.integers(1, 30), min_size=1))
def test_no_label_is_lost_between_two_vocabularies(one: set[int], other: set[int]) -> None:
    length = max(*one, *other)
    labelled = [TokenReward(end, 1 / end) for end in sorted({*one, length})]
    found = labels_of_tokens(labelled, sorted({*other, length}))
    assert set(found) <= {token.reward for token in labelled}
    assert min(found) == labelled[-1].reward


def test_tokens_are_learnt_from_up_to_the_first_wrong_one() -> None:
    vocabulary = Vocabulary(load_tokenizer(str(model_path("draft"))))
    text = "Adding 12 gives 25 seeds."
    ends = vocabulary.places(vocabulary.text_ids(text))
    assert (len(ends), ends[-1]) == (8, len(text))
    labelled = tuple(TokenReward(end, 0.25 if end == ends[4] else 0.75) for end in ends)
    step = LabelledStep(text, False, 0.25, tokens=labelled)
    solution = LabelledSolution("a/0", "a", "How many?", (step,))
    settings = TrainSettings(mark="\n\n", soft=True)
    [example] = make_examples([solution], vocabulary, settings, 512).examples
    asked = len(example.ids) - 9
    assert example.spots == (*[1.0] * asked, *[0.75] * 4, 0.25, *[UNKNOWN] * 4)
    assert example.targets == (0.25,)
    [example] = make_examples(
        [solution], vocabulary, replace(settings, after_error=True), 512
    ).examples
    assert example.spots == (*[1.0] * asked, *[0.75] * 4, 0.25, *[0.75] * 3, UNKNOWN)


def test_white_space_around_a_step_moves_the_ends_of_its_tokens() -> None:
    tokens = (TokenReward(3, 0.5), TokenReward(5, 0.6), TokenReward(8, 0.7))
    step = LabelledStep("\n a bc\n\n", True, tokens=tokens).stripped()
    assert step.text == "a bc"
    assert step.tokens == (TokenReward(1, 0.5), TokenReward(3, 0.6), TokenReward(4, 0.7))


def test_rows_keep_the_labels_of_tokens() -> None:
    step = LabelledStep("a bc", True, 0.5, tokens=(TokenReward(1, 0.5), TokenReward(4, 1.0)))
    solution = LabelledSolution("a/0", "a", "How many?", (step, replace(step, tokens=())), "draft")
    row = to_row(solution)
    assert row["token_labels"] == [[[1, 0.5], [4, 1.0]], []]
    assert from_row(row, 1).steps == solution.steps
    assert "token_labels" not in to_row(replace(solution, steps=solution.steps[1:]))
    for wrong in ([[1]], [[-1, 0.5]], [["a", 0.5]], [[1, 2.0]], [1]):
        with pytest.raises(InputError, match=r"token_labels|soft label"):
            from_row(row | {"token_labels": [wrong, []]}, 1)
