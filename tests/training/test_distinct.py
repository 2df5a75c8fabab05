from __future__ import annotations

import asyncio

from rsdecode.core.types import Ledger, Role, Usage
from rsdecode.training.distinct import DistinctLabels
from rsdecode.training.labeller import Labelled, Sampled
from rsdecode.training.solutions import LabelledStep

SPENT = Ledger(reward=Usage(prefill_tokens=7))


def solution(number: int, *steps: str) -> Sampled:
    return Sampled(number, Role.DRAFT, 1.0, steps, 0, True, True, Ledger())


class Labels:
    """Labels every step right, and notes who is labelled beside whom."""

    def __init__(self) -> None:
        self.labelled: list[int] = []
        self.beside = 0
        self._open = 0

    async def label(self, one: Sampled) -> Labelled:
        self._open += 1
        self.beside = max(self.beside, self._open)
        self.labelled.append(one.sample)
        await asyncio.sleep(0)
        self._open -= 1
        return Labelled(one, tuple(LabelledStep(text, True) for text in one.steps), 3, SPENT)


SOLUTIONS = [solution(0, "a"), solution(1, "a", "b"), solution(2, "a"), solution(3, "a", "b")]


async def test_equal_solutions_are_labelled_once() -> None:
    labels = Labels()
    distinct = DistinctLabels(labels.label, [], in_turn=False)
    found = await asyncio.gather(*map(distinct.label, SOLUTIONS))
    assert labels.labelled == [0, 1]
    assert labels.beside == 2
    assert [one.sampled for one in found] == SOLUTIONS
    assert [len(one.steps) for one in found] == [1, 2, 1, 2]
    assert [one.ledger for one in found] == [SPENT, SPENT, Ledger(), Ledger()]
    assert [one.written for one in found] == [3, 3, 0, 0]


async def test_what_is_labelled_already_is_not_labelled_again() -> None:
    labels = Labels()
    known = await labels.label(solution(9, "a"))
    distinct = DistinctLabels(labels.label, [known], in_turn=False)
    found = await asyncio.gather(*map(distinct.label, SOLUTIONS))
    assert labels.labelled == [9, 1]
    assert [one.sampled.sample for one in found] == [0, 1, 2, 3]


async def test_a_reward_reads_one_after_the_other() -> None:
    labels = Labels()
    distinct = DistinctLabels(labels.label, [], in_turn=True)
    await asyncio.gather(*map(distinct.label, SOLUTIONS))
    assert labels.labelled == [0, 1]
    assert labels.beside == 1
