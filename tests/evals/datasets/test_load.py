from __future__ import annotations

import json
import random
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from rsdecode.config.schema import STEP_BY_STEP
from rsdecode.core.errors import ConfigError
from rsdecode.evals.datasets import (
    DATASETS,
    dataset_digest,
    dataset_named,
    is_dataset,
    load_dataset,
    load_shuffled,
)
from rsdecode.evals.grading import AnswerKind

RawQuestion = dict[str, Any]

HUB_ROWS: dict[str, tuple[RawQuestion, str, str, str]] = {
    "gsm8k": (
        {"question": "How many?", "answer": "9 * 2 = <<9*2=18>>18\n#### 1,800"},
        "gsm8k-0", "How many?", "1,800",
    ),
    "math500": (
        {"problem": "p?", "solution": r"\boxed{2}", "answer": r"\frac12", "unique_id": "test/a/1"},
        "math500-test/a/1", "p?", r"\frac12",
    ),
    "olympiadbench": (
        {"id": 1664, "question": "n?", "final_answer": ["$69$", "$84$"], "solution": ["s"],
         "is_multiple_answer": True, "unit": None, "answer_type": "Numerical"},
        "olympiadbench-1664", "n?", "$69$, $84$",
    ),
    "gaokao2023en": (
        {"source": "2023BJ/01", "question": "q?", "lang": "en", "answer": "$145$solution:"},
        "gaokao2023en-0", "q?", "$145$",
    ),
    "minerva_math": ({"question": "q?", "answer": "4.5e33"}, "minerva_math-0", "q?", "4.5e33"),
    "svamp": (
        {"ID": "chal-1", "Body": "Two groups.", "Question": "How big?", "Answer": 145.0},
        "svamp-chal-1", "Two groups. How big?", "145",
    ),
    "aime24": (
        {"id": 60, "problem": "q?", "solution": r"so \boxed{204}", "answer": "204"},
        "aime24-60", "q?", "204",
    ),
    "amc23": ({"id": 0, "question": "q?", "answer": 27.0}, "amc23-0", "q?", "27"),
}  # fmt: skip
"""A row as the hub has it; the problem's id, question and answer."""

GPQA: RawQuestion = {
    "Record ID": "rec1", "Question": "Which?", "Correct Answer": "right\n",
    "Incorrect Answer 1": "wrong 1", "Incorrect Answer 2": "wrong 2", "Incorrect Answer 3": "w3",
}  # fmt: skip


@pytest.fixture
def file(tmp_path: Path) -> Callable[..., str]:
    def write(*rows: RawQuestion | str) -> str:
        path = tmp_path / "rows.jsonl"
        lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        path.write_text("\n".join(lines), "utf-8")
        return str(path)

    return write


@pytest.mark.parametrize("name", HUB_ROWS)
def test_the_fields_of_each_set(name: str, file: Callable[..., str]) -> None:
    row, id, question, answer = HUB_ROWS[name]
    (problem,) = load_dataset(f"{name}@{file(row)}")
    assert (problem.id, problem.question, problem.answer) == (id, question, answer)
    assert len(problem.messages) == 1


def test_every_entry_is_complete() -> None:
    assert set(DATASETS) == {*HUB_ROWS, "gpqa", "mmlu_stem", "abacus"}
    for name, entry in DATASETS.items():
        assert entry.name == name
        assert (entry.source is None) is (name == "abacus")
        assert entry.prompt == (None if name == "abacus" else STEP_BY_STEP)
        assert (entry.answer_type is AnswerKind.CHOICE) is (name in ("gpqa", "mmlu_stem"))


def test_multiple_choice_has_letters_in_a_drawn_order(file: Callable[..., str]) -> None:
    rows = [{**GPQA, "Record ID": f"rec{n}"} for n in range(200)]
    name = f"gpqa@{file(*rows)}"
    problems = load_dataset(name)
    letters = Counter(problem.answer for problem in problems)
    assert set(letters) == set("ABCD")
    assert max(letters.values()) < 80
    for problem in problems:
        question, _, choices = problem.question.partition("\nAnswer Choices: ")
        assert question == "Which?"
        assert f"({problem.answer}) right" in choices
        for text in ("wrong 1", "wrong 2", "w3"):
            assert choices.count(text) == 1
    assert problems == load_dataset(name) == load_dataset(name, shuffle_seed=0)
    others = load_dataset(name, shuffle_seed=1)
    assert [p.id for p in others] == [p.id for p in problems]
    assert sum(a.answer != b.answer for a, b in zip(problems, others, strict=True)) > 100
    assert load_dataset(f"gpqa@{file(*rows[50:])}")[0] == problems[50]


@pytest.mark.parametrize("subject", ["type", "subject"])
@pytest.mark.parametrize("answer", [2, "C"])
def test_mmlu_keeps_its_stem_subjects(
    subject: str, answer: int | str, file: Callable[..., str]
) -> None:
    row = {"question": "q?", "choices": ["a", "b", "c", "d"], "answer": answer}
    law, physics = row | {subject: "professional_law"}, row | {subject: "college_physics"}
    (problem,) = load_dataset(f"mmlu_stem@{file(law, physics)}")
    assert problem.id == "mmlu_stem-1"
    assert f"({problem.answer}) c" in problem.question


def test_a_file_of_ones_own(file: Callable[..., str]) -> None:
    name = file(
        {"question": "a?", "answer": 4},
        "",
        {"id": "x", "problem": "b?", "answer": r"We get \boxed{\frac{1}{2}}."},
        {"question": "c?", "choices": ["yes", "no"], "answer": "B"},
        {"question": "d?", "answer": "So 3.\n#### 3"},
    )
    problems = load_dataset(name)
    assert [problem.id for problem in problems] == ["1", "x", "4", "5"]
    assert [problem.answer for problem in problems[:2]] == ["4", r"\frac{1}{2}"]
    assert f"({problems[2].answer}) no" in problems[2].question
    assert problems[3].answer == "3"
    assert load_dataset(name, 2) == problems[:2]
    assert dataset_named(name).answer_type is AnswerKind.MATH


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("{", "not JSON"),
        ({"answer": "4"}, "question"),
        ({"question": "q?"}, "answer"),
        ({"question": "q?", "answer": ""}, "answer"),
        ({"question": " ", "answer": "4"}, "empty"),
        ({"id": 1.5, "question": "q?", "answer": "4"}, "id"),
        ({"id": "good", "question": "q?", "answer": "4"}, "line 1"),
        ({"question": "q?", "choices": ["a"], "answer": 0}, "choices"),
        ({"question": "q?", "choices": ["a", "b"], "answer": 2}, "answer"),
        ({"question": "q?", "choices": ["a", "b"], "answer": "a thing"}, "answer"),
    ],
)
def test_a_bad_line_is_named(row: RawQuestion | str, reason: str, file: Callable[..., str]) -> None:
    name = file({"id": "good", "question": "q?", "answer": "4"}, row)
    with pytest.raises(ConfigError, match=rf"rows\.jsonl, line 2: .*{reason}"):
        load_dataset(name)


def hub(monkeypatch: pytest.MonkeyPatch, load: Callable[..., Any]) -> None:
    module: Any = ModuleType("datasets")
    module.load_dataset, module.disable_progress_bars = load, lambda: None
    monkeypatch.setitem(sys.modules, "datasets", module)


def test_a_file_without_problems_is_refused(file: Callable[..., str]) -> None:
    for load in (load_dataset, lambda name: load_shuffled(name, 5, 1)):
        with pytest.raises(
            ConfigError, match=r"rows\.jsonl holds no problems: a line is an object"
        ):
            load(file("", " "))


def test_from_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str | None, str]] = []

    def load(repo: str, config: str | None, *, split: str) -> list[RawQuestion]:
        asked.append((repo, config, split))
        return [HUB_ROWS["gsm8k"][0], {"question": "b?", "answer": "#### 2"}]

    hub(monkeypatch, load)
    assert [problem.answer for problem in load_dataset("gsm8k")] == ["1,800", "2"]
    assert len(load_dataset("gsm8k", 1)) == 1
    assert asked[0] == ("openai/gsm8k", "main", "test")


@pytest.mark.parametrize(("name", "remedy"), [("gsm8k", "network"), ("gpqa", "accept its terms")])
def test_without_the_hub_the_remedies_are_named(
    name: str, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_: Any, **__: Any) -> None:
        raise ConnectionError("Couldn't reach the hub\nand more")

    hub(monkeypatch, load)
    with pytest.raises(ConfigError, match=rf"{remedy}.*{name}@PATH\.jsonl") as error:
        load_dataset(name)
    assert "Couldn't reach" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("module", [None, ModuleType("datasets")])
def test_without_the_library_the_extra_is_named(
    module: ModuleType | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder `datasets/` on the Python path is not the library."""
    monkeypatch.setitem(sys.modules, "datasets", module)
    with pytest.raises(ConfigError, match=r"rsdecode\[data\].*gsm8k@PATH\.jsonl"):
        load_dataset("gsm8k")


def test_abacus_problems_have_answers_and_ids_of_their_own() -> None:
    problems = load_dataset("abacus:test", 20)
    assert len({problem.id for problem in problems}) == 20
    assert all(problem.answer and problem.question for problem in problems)
    assert problems == load_dataset("abacus:test", 30)[:20]
    assert dataset_named("abacus:test").answer_type is AnswerKind.NUMBER


def test_abacus_splits_and_levels() -> None:
    levels = {problem.id.split("-")[1] for problem in load_dataset("abacus:validation:2,4", 10)}
    assert levels == {"2", "4"}
    test = {problem.question for problem in load_dataset("abacus:test", 50)}
    assert test.isdisjoint(problem.question for problem in load_dataset("abacus:validation", 50))


@pytest.mark.parametrize(
    "name",
    ["abacus", "abacus:exam", "abacus:test:6", "abacus:test:x", "gms8k", "", "nothing@rows.jsonl"],
)
def test_unknown_names(name: str) -> None:
    with pytest.raises(ConfigError, match="abacus:"):
        load_dataset(name)


def test_a_misspelt_name_gets_a_hint() -> None:
    with pytest.raises(ConfigError, match="did you mean gsm8k"):
        dataset_named("gms8k")


def test_a_missing_file() -> None:
    for name in ("gsm8k@missing.jsonl", "missing.jsonl"):
        with pytest.raises(ConfigError, match=r"missing\.jsonl: there is no such file"):
            load_dataset(name)


def test_names_and_files() -> None:
    assert all(map(is_dataset, ["abacus:test", "gsm8k", "gsm8k@rows.jsonl"]))
    assert not any(map(is_dataset, ["abacus.jsonl", "rows.jsonl", "gsm8k.jsonl", "gsm8k/a.jsonl"]))


def rows_file(folder: Path, count: int, *more: str) -> Path:
    path = folder / "rows.jsonl"
    rows = [json.dumps({"question": f"{n}?", "answer": str(n)}) for n in range(count)]
    path.write_text("".join(f"{row}\n\n" for row in [*rows, *more]))
    return path


def test_no_more_lines_are_parsed_than_are_asked_for(tmp_path: Path) -> None:
    path = rows_file(tmp_path, 5, "{", "[]")
    assert [p.question for p in load_dataset(str(path), 5)] == [f"{n}?" for n in range(5)]
    with pytest.raises(ConfigError, match="line 11: not JSON"):
        load_dataset(str(path), 6)


@pytest.mark.parametrize("limit", [None, 0, 1, 7, 50, 99])
def test_a_part_in_random_order_is_the_beginning_of_the_whole(
    tmp_path: Path, limit: int | None
) -> None:
    name = str(rows_file(tmp_path, 50))
    whole = load_dataset(name)
    assert load_shuffled(name, limit, 3) == random.Random(3).sample(whole, 50)[:limit]


def test_the_digest_is_that_of_the_content(tmp_path: Path) -> None:
    path = rows_file(tmp_path, 5)
    before = dataset_digest(str(path))
    assert dataset_digest(str(path), shuffle_seed=1) == before
    copy = tmp_path / "copy.jsonl"
    copy.write_bytes(path.read_bytes())
    assert dataset_digest(f"gsm8k@{copy}") == before
    path.write_bytes(path.read_bytes().replace(b'"4"', b'"5"'))
    assert dataset_digest(str(path)) != before
    with pytest.raises(ConfigError, match="there is no such file"):
        dataset_digest("missing.jsonl")


@pytest.mark.parametrize("padding", [0, (1 << 20) - 40, (1 << 20) - 30])
def test_the_order_of_choices_is_in_the_digest(tmp_path: Path, padding: int) -> None:
    """Also where the word lies across two of the pieces that a file is read in."""
    row = {"question": "q", "choices": ["a", "b"], "answer": "A"}
    path = tmp_path / "rows.jsonl"
    path.write_text(" " * padding + json.dumps(row) + "\n")
    digests = {dataset_digest(str(path), shuffle_seed=seed) for seed in (None, 0, 1)}
    assert len(digests) == 2  # no seed is seed 0
