"""Labelled solutions as token ids and the places at which rewards are read."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rsdecode.core.requests import TokenReward
from rsdecode.core.types import Message
from rsdecode.rewards.format import Format
from rsdecode.rewards.token_classifier import SeparatorFormat
from rsdecode.rewards.value_head import ValueHeadFormat
from rsdecode.training.solutions import LabelledSolution
from rsdecode.training.train_settings import Layout, TrainSettings

if TYPE_CHECKING:
    from torch import Tensor

    from rsdecode.text.vocabulary import Vocabulary

UNKNOWN = -1.0


@dataclass(frozen=True, slots=True)
class Example:
    """One solution as the reward model reads it.

    Attributes:
        ids: all its tokens.
        marks: where the reward of each step is read that is learnt from.
        targets: how right everything is up to there, in [0, 1].
        right: whether it is.
        words: the tokens between which the language model learns: from, to.
        spots: how likely each token is right, in [0, 1]; `UNKNOWN` where nobody knows.
        solution: where it comes from.
    """

    ids: tuple[int, ...]
    marks: tuple[int, ...]
    targets: tuple[float, ...]
    right: tuple[bool, ...]
    words: tuple[int, int]
    spots: tuple[float, ...]
    solution: LabelledSolution


@dataclass(frozen=True, slots=True)
class Examples:
    """Examples, and what could not be read.

    Attributes:
        cut: solutions that lost steps because they are too long.
        too_long: solutions without a step that fits.
    """

    examples: list[Example]
    cut: int = 0
    too_long: int = 0


def format_of(settings: TrainSettings, vocabulary: Vocabulary) -> Format:
    """How the trained reward model reads a question and its steps.

    Raises:
        ModelLoadError: the mark is not in the vocabulary.
    """
    if settings.layout is Layout.VALUE_HEAD:
        return ValueHeadFormat(vocabulary, settings.mark)
    return SeparatorFormat(vocabulary, settings.mark)


def make_examples(
    solutions: Iterable[LabelledSolution],
    vocabulary: Vocabulary,
    settings: TrainSettings,
    context: int,
) -> Examples:
    """Read solutions as the reward model will.

    Nothing after a first wrong step is learnt from, unless asked; nor is a step that was given.

    Args:
        solutions: labelled.
        vocabulary: of the backbone.
        settings: of the training.
        context: tokens that the backbone can read.

    Raises:
        ModelLoadError: the mark is not in the vocabulary.
    """
    form = format_of(settings, vocabulary)
    limit = min(settings.max_tokens, context)
    examples, cut, too_long = list[Example](), 0, 0
    for solution in solutions:
        corrupted = solution.steps[0].original is not None
        whole_text = settings.after_error or corrupted
        used = solution if whole_text else solution.up_to_first_error()
        example, whole = _example(used, form, vocabulary, settings, limit)
        too_long += example is None
        cut += example is not None and not whole
        if example is not None and example.marks:
            examples.append(example)
    return Examples(examples, cut, too_long)


def _example(
    solution: LabelledSolution,
    form: Format,
    vocabulary: Vocabulary,
    settings: TrainSettings,
    limit: int,
) -> tuple[Example | None, bool]:
    """The example, and whether all its steps fit; None where none does."""
    ids = list(form.prompt_ids([Message("user", solution.question)]))
    start = right_end = len(ids)
    marks, targets, right = list[int](), list[float](), list[bool]()
    spots = [UNKNOWN] * start
    first_wrong = solution.first_wrong
    fitted = 0
    for place, step in enumerate(solution.steps):
        more = form.step_ids(step.text, place)
        if len(ids) + len(more) > limit:
            break
        ids += more
        if step.tokens:
            spots += [*labels_of_tokens(step.tokens, vocabulary.places(more))[:-1], UNKNOWN]
        else:
            original = None if step.original is None else form.step_ids(step.original, place)
            spots += _spots(more, original, right=step.right)
        fitted += 1
        if step.right:
            right_end = len(ids)
        after = first_wrong is not None and place > first_wrong
        if place >= solution.given and (settings.after_error or not after):
            soft = settings.soft and step.soft is not None
            marks.append(len(ids) - 1)
            targets.append(step.soft if soft and step.soft is not None else float(step.right))
            right.append(step.right)
    if not fitted:
        return None, False
    if any(step.tokens for step in solution.steps):
        spots[:start] = [1.0] * start  # of the question nothing is wrong
        spots = spots if settings.after_error else _up_to_wrong(spots)
    example = Example(
        tuple(ids), tuple(marks), tuple(targets), tuple(right), (start, right_end), tuple(spots),
        solution,
    )  # fmt: skip
    return example, fitted == len(solution.steps)


def labels_of_tokens(labelled: Sequence[TokenReward], places: Sequence[int]) -> list[float]:
    """The labels of a step's tokens, which whoever labelled it may have cut otherwise.

    Args:
        labelled: tokens with their labels, one at least.
        places: where the wanted tokens end.

    Returns:
        Of each the lowest label of those that it shares characters with.
    """
    ends = [token.end for token in labelled]
    found, start = list[float](), 0
    for end in places:
        first = min(bisect_right(ends, start), len(ends) - 1)
        last = min(bisect_left(ends, end), len(ends) - 1)
        found.append(min(token.reward for token in labelled[first : max(first, last) + 1]))
        start = end
    return found


def _up_to_wrong(spots: Sequence[float]) -> list[float]:
    """Without the labels of the tokens after a first wrong one."""
    wrong = next((at for at, label in enumerate(spots) if 0 <= label < 0.5), len(spots))
    return [*spots[: wrong + 1], *[UNKNOWN] * (len(spots) - wrong - 1)]


def _spots(ids: Sequence[int], original: Sequence[int] | None, *, right: bool) -> list[float]:
    """Which tokens of a step are right: all of a right one, and where digits were replaced.

    Of a wrong step that somebody wrote nobody knows. The last token is the mark, which has a loss
    of its own.
    """
    if original is None:
        found = [1.0 if right else UNKNOWN] * len(ids)
    elif len(ids) == len(original):
        found = [float(own == other) for own, other in zip(ids, original, strict=True)]
    else:
        pairs = enumerate(zip(ids, original, strict=False))
        same = next((at for at, (own, other) in pairs if own != other), 0)
        found = [*[1.0] * same, 0.0, *[UNKNOWN] * (len(ids) - same - 1)]
    return [*found[:-1], UNKNOWN]


def class_weights(examples: Sequence[Example], settings: TrainSettings) -> tuple[float, float]:
    """What a wrong and a right step weigh."""
    if not settings.balance:
        return 1.0, 1.0
    right = sum(sum(example.right) for example in examples)
    total = sum(len(example.right) for example in examples)
    wrong = total - right
    if not right or not wrong:
        return 1.0, 1.0
    return total / (2 * wrong), total / (2 * right)


class Collator:
    """Makes a padded batch of examples.

    Args:
        weights: of wrong and right steps.
        pad: a token id; what it is does not matter, as nothing looks ahead.
    """

    def __init__(self, weights: tuple[float, float], pad: int = 0) -> None:
        self._weights = weights
        self._pad = pad

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """Tokens and spots [B, T]; place [S, 2], target and weight [S] of steps; words [B, 2]."""
        import torch

        examples: list[Example] = [row["example"] for row in rows]
        width = max(len(example.ids) for example in examples)
        ids = [[*e.ids, *[self._pad] * (width - len(e.ids))] for e in examples]
        places = [[row, mark] for row, e in enumerate(examples) for mark in e.marks]
        targets = [target for e in examples for target in e.targets]
        weights = [self._weights[right] for e in examples for right in e.right]
        return {
            "input_ids": torch.tensor(ids),
            "places": torch.tensor(places),
            "targets": torch.tensor(targets),
            "weights": torch.tensor(weights),
            "words": torch.tensor([e.words for e in examples]),
            "spots": torch.tensor(
                [[*e.spots, *[UNKNOWN] * (width - len(e.ids))] for e in examples]
            ),
        }


def as_rows(examples: Sequence[Example]) -> list[dict[str, Any]]:
    """Rows of a data set for the trainer, which groups them by the length of `input_ids`."""
    return [{"input_ids": e.ids, "example": e} for e in examples]


def entropy(examples: Sequence[Example]) -> float:
    """The loss of a model that says the same of every step, for comparison."""
    targets = [t for e in examples for t in e.targets]
    share = sum(targets) / max(1, len(targets))
    if not 0 < share < 1:
        return 0.0
    return -(share * math.log(share) + (1 - share) * math.log(1 - share))
