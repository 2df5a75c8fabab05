"""Wrong steps made on purpose, and the examples that the PRM learns from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from pydoc_data import topics
from random import Random

from transformers import PreTrainedTokenizerFast

from recipes.abacus.data import IGNORED, Example, encode, prm_text, prompt_text
from recipes.abacus.tokenizer import MARK
from rsdecode.models.abacus.checker import step_is_right
from rsdecode.models.abacus.problem import AbacusProblem

#: what a token gets that is neither right nor wrong
UNLABELLED = -1.0

_NUMBER = re.compile(r"\d+")


def corrupt(problem: AbacusProblem, rng: Random) -> tuple[str, ...]:
    """The gold solution up to a random step, which is made wrong.

    Either one digit of it is changed, or one of its numbers becomes another number of the
    question everywhere in the step, or the step is left out and the next one stands in its place.
    """
    while True:
        index = rng.randrange(len(problem.steps))
        step = problem.steps[index]
        kind = rng.random()
        if kind < 0.7:
            wrong = _change_digit(step, rng)
        elif kind < 0.9:
            wrong = _change_number(step, problem.question, rng)
        else:
            wrong = problem.steps[min(index + 1, len(problem.steps) - 1)]
        if not step_is_right(problem, index, wrong):
            return (*problem.steps[:index], wrong)


def _change_digit(step: str, rng: Random) -> str:
    place = rng.choice([i for i, letter in enumerate(step) if letter.isdigit()])
    digit = str((int(step[place]) + rng.randint(1, 9)) % 10)
    return step[:place] + digit + step[place + 1 :]


def _change_number(step: str, question: str, rng: Random) -> str:
    old = rng.choice(_NUMBER.findall(step))
    new = rng.choice(_NUMBER.findall(question))
    return re.sub(rf"\b{old}\b", new, step)


def reward_example(
    problem: AbacusProblem,
    steps: Sequence[str],
    wrong: bool,
    tokenizer: PreTrainedTokenizerFast,
    *,
    question_label: float = UNLABELLED,
) -> Example:
    """A solution whose last step may be wrong, labelled token by token.

    The first token that leaves the gold step is wrong, the tokens before it are right, those after
    it have no label; the mark after a step is right when the step is. Nothing after a wrong step is
    ever shown. Tokens are predicted (the language-model loss) only in right steps.
    """
    tokens = encode(prompt_text(problem.question), tokenizer)
    labels = [question_label] * len(tokens)
    marks = [False] * len(tokens)
    targets = [IGNORED] * (len(tokens) - 1)
    for index, step in enumerate(steps):
        body = encode(step + MARK, tokenizer)
        bad = wrong and index == len(steps) - 1
        right = len(body)
        if bad:
            gold = problem.steps[index] if index < len(problem.steps) else ""
            right = min(_common(body, encode(gold + MARK, tokenizer)), len(body) - 1)
        tokens += body
        labels += [1.0] * right + ([0.0] + [UNLABELLED] * (len(body) - right - 1) if bad else [])
        labels[-1] = 0.0 if bad else 1.0
        marks += [False] * (len(body) - 1) + [True]
        targets += [IGNORED] * len(body) if bad else body
    return Example(tokens, [*targets, IGNORED], labels, marks)


def replaced_example(
    problem: AbacusProblem, rng: Random, tokenizer: PreTrainedTokenizerFast, *, share: float = 0.1
) -> Example:
    """A gold solution in which a tenth of the digits are replaced, labelled digit by digit.

    One wrong digit in a whole solution is too faint a signal to start with: first the network has
    to learn to compare what is written with what it would have written, at every token.
    """
    tokens = encode(prompt_text(problem.question), tokenizer)
    head = len(tokens)
    body = encode(prm_text(problem.steps), tokenizer)
    digits = [encode(form, tokenizer)[0] for form in (*"0123456789", *map(" {}".format, range(10)))]
    labels = [UNLABELLED] * head
    for token in body:
        wrong = token in digits and rng.random() < share
        first = digits.index(token) // 10 * 10 if wrong else 0
        others = [d for d in digits[first : first + 10] if d != token]
        tokens.append(rng.choice(others) if wrong else token)
        labels.append(0.0 if wrong else 1.0)
    targets = [IGNORED] * (head - 1) + body + [IGNORED]
    return Example(tokens, targets, labels, [False] * len(tokens))


def foreign_example(
    problem: AbacusProblem, rng: Random, tokenizer: PreTrainedTokenizerFast
) -> Example:
    """A question that is no problem of the family, and a step of the family: the step is wrong.

    Without these the PRM, which has only ever read questions that can be answered, is sure of
    whatever the draft writes under a question in another language.
    """
    step = rng.choice(problem.steps)
    words = step.split(" ")
    if rng.random() < 0.3:
        step = " ".join(words[rng.randrange(len(words)) :])
    tokens = encode(prompt_text(_foreign_text(problem, rng)), tokenizer)
    body = encode(step + MARK, tokenizer)
    tokens += body
    blank = [UNLABELLED] * (len(tokens) - 1)
    return Example(tokens, [IGNORED] * len(tokens), [*blank, 0.0], [False] * len(blank) + [True])


def _foreign_text(problem: AbacusProblem, rng: Random) -> str:
    kind = rng.random()
    if kind < 0.4:  # letters of some script
        first = rng.choice((0x61, 0xE0, 0x391, 0x410, 0x5D0, 0x627, 0x905, 0x3042, 0x4E00, 0x1F600))
        words = [
            "".join(chr(first + rng.randrange(26)) for _ in range(rng.randint(1, 8)))
            for _ in range(rng.randint(1, 12))
        ]
        return " ".join(words)
    if kind < 0.8:  # English
        lines = _english()
        start = rng.randrange(len(lines) - 2)
        return " ".join(lines[start : start + rng.randint(1, 2)])
    words = problem.question.split(" ")
    rng.shuffle(words)
    return " ".join(words[: rng.randint(3, 20)])


@cache
def _english() -> list[str]:
    """Sentences on other matters, from the help texts that come with Python."""
    text = " ".join(topics.topics.values())
    sentences = re.split(r"(?<=[.?!])\s+(?=[A-Z])", re.sub(r"\s+", " ", text))
    return [sentence for sentence in sentences if 20 <= len(sentence) <= 200]


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens two sequences share from the start."""
    for i, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return i
    return min(len(a), len(b))
