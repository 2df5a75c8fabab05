from __future__ import annotations

import pytest

from rsdecode.core.errors import ConfigError
from rsdecode.evals.datasets import is_dataset, load_dataset


def test_problems_have_answers_and_ids_of_their_own() -> None:
    problems = load_dataset("abacus:test", 20)
    assert len({problem.id for problem in problems}) == 20
    assert all(problem.answer and problem.question for problem in problems)
    assert problems == load_dataset("abacus:test", 30)[:20]


def test_splits_and_levels() -> None:
    levels = {problem.id.split("-")[1] for problem in load_dataset("abacus:validation:2,4", 10)}
    assert levels == {"2", "4"}
    test = {problem.question for problem in load_dataset("abacus:test", 50)}
    assert test.isdisjoint(problem.question for problem in load_dataset("abacus:validation", 50))


@pytest.mark.parametrize("name", ["abacus:exam", "abacus:test:6", "abacus:test:x", "gsm8k"])
def test_unknown_names(name: str) -> None:
    with pytest.raises(ConfigError, match="abacus:"):
        load_dataset(name)


def test_names_and_files() -> None:
    assert is_dataset("abacus:test")
    assert not is_dataset("abacus.jsonl")
