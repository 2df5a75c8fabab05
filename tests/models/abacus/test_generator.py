"""Laws of the problem generator."""

from __future__ import annotations

import os
import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsdecode.models.abacus import boxed, first_error, problems
from rsdecode.models.abacus.checker import equations, evaluate
from rsdecode.models.abacus.generator import LEVELS, Split, generate, split_of
from rsdecode.models.abacus.operations import OPERATIONS

COUNT = 2500 if "RSD_SLOW" in os.environ else 1200
SPLITS: tuple[Split, ...] = ("train", "validation", "test")

splits = st.sampled_from(SPLITS)
levels = st.sampled_from(sorted(LEVELS))
indices = st.integers(0, 10**9)


@given(splits, levels, indices)
@settings(max_examples=150, deadline=None)
def test_a_problem_is_a_pure_function_of_its_coordinates(
    split: Split, level: int, index: int
) -> None:
    assert generate(split, level, index) == generate(split, level, index)


@given(splits, levels, indices)
@settings(max_examples=150, deadline=None)
def test_gold_solutions_are_right_and_end_with_the_answer(
    split: Split, level: int, index: int
) -> None:
    problem = generate(split, level, index)
    assert first_error(problem, problem.steps) is None
    assert boxed(problem.steps[-1]) == problem.answer == str(problem.values[-1])
    assert len(problem.steps) == len(problem.values) + 1
    assert "\n" not in problem.question + "".join(problem.steps)


@given(levels, indices)
@settings(max_examples=150, deadline=None)
def test_levels_keep_their_limits(level: int, index: int) -> None:
    problem = generate("train", level, index)
    limits = LEVELS[level]
    low, high = limits.operations
    assert low <= len(problem.values) <= high
    assert all(0 < value <= limits.largest_value for value in problem.values)


@given(levels, indices, st.integers(0, 100))
@settings(max_examples=100, deadline=None)
def test_every_gold_step_has_an_equation_that_leads_to_its_value(
    level: int, index: int, seed: int
) -> None:
    problem = generate("train", level, index, seed=seed)
    for step, value in zip(problem.steps[:-1], problem.values, strict=True):
        chains = equations(step)
        assert chains
        assert evaluate(chains[-1][-1]) == value


def test_steps_run_from_two_to_ten() -> None:
    counts = {len(problem.steps) for problem in problems("train", limit=500)}
    assert counts == set(range(2, 11))


def test_splits_share_no_structure() -> None:
    skeletons = {
        split: {generate(split, 1 + i % 5, i).skeleton for i in range(COUNT)} for split in SPLITS
    }
    assert not skeletons["train"] & skeletons["validation"]
    assert not skeletons["train"] & skeletons["test"]
    assert not skeletons["validation"] & skeletons["test"]


@given(splits, levels, indices)
@settings(max_examples=100, deadline=None)
def test_the_split_follows_from_the_structure_alone(split: Split, level: int, index: int) -> None:
    problem = generate(split, level, index)
    assert split_of(problem.skeleton) == split
    for name in re.findall(r"[A-Z][a-z]+|\d+ ", problem.question):
        assert name.strip() not in problem.skeleton.split()


def test_a_tenth_of_the_structures_is_held_out_for_the_test() -> None:
    shares = Counter(split_of(f"structure {i}") for i in range(5000))
    assert 0.08 < shares["test"] / 5000 < 0.12
    assert 0.08 < shares["validation"] / 5000 < 0.12


def test_every_wording_of_every_operation_occurs() -> None:
    marks = Counter(
        mark for problem in problems("train", limit=3000) for mark in problem.skeleton.split()
    )
    for operation in OPERATIONS:
        for i in range(len(operation.wordings)):
            assert marks[f"{operation.name}{i}"] > 20
    assert len(OPERATIONS) >= 8


def test_products_of_two_digit_numbers_occur_from_level_three_on() -> None:
    text = " ".join(" ".join(p.steps) for p in problems("train", levels=[3, 4, 5], limit=200))
    assert re.search(r"\b\d\d \* \d\d =", text)


def test_listing_is_stable_uniform_in_levels_and_prefix_closed() -> None:
    listed = problems("test", limit=50)
    assert listed[:10] == problems("test", limit=10)
    assert Counter(problem.level for problem in listed) == dict.fromkeys(range(1, 6), 10)
    assert len({problem.id for problem in listed}) == 50
    assert {problem.level for problem in problems("test", levels=[2, 4], limit=9)} == {2, 4}
    assert len(problems("validation")) == 1000


def test_the_first_test_problem_never_changes() -> None:
    problem = problems("test", limit=1)[0]
    assert problem.id == "test-1-0000"
    assert (problem.question, problem.answer) == FIRST_TEST_PROBLEM


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "exam"}, "unknown split 'exam'"),
        ({"split": "test", "levels": [6]}, r"got \[6\]"),
        ({"split": "test", "levels": []}, r"got \[\]"),
        ({"split": "test", "limit": -1}, "got -1"),
    ],
)
def test_wrong_requests_say_what_is_wrong(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        problems(**arguments)  # type: ignore[arg-type]


FIRST_TEST_PROBLEM = (
    "Olga starts with 24 buttons. A shop pays 3 coins for each of the buttons. "
    "What is the final number of coins?",
    "72",
)
