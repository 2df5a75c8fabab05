"""Every layout gives the same steps and labels; a bad line is told and stops no other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rsdecode.training.layouts import read_labels
from rsdecode.training.solutions import from_row, to_row

QUESTION = "What is 2 * (3 + 4)?"
STEPS = ["3 + 4 = 7.", "2 * 7 = 15.", "The answer is 15."]
WRONG = 1

TRL = {"prompt": QUESTION, "completions": STEPS, "labels": [True, False, False]}
SHEPHERD = {
    "input": f"{QUESTION} Step 1: {STEPS[0]} ки\nStep 2: {STEPS[1]} ки\nStep 3: {STEPS[2]} ки",
    "label": f"{QUESTION} Step 1: {STEPS[0]} +\nStep 2: {STEPS[1]} -\nStep 3: {STEPS[2]} -",
    "task": "GSM8K",
}
PRMBENCH = {
    "original_question": QUESTION,
    "original_process": ["3 + 4 = 7.", "2 * 7 = 14."],
    "modified_process": STEPS,
    "error_steps": [2, 3],
    "classification": "confidence",
    "idx": "prm_test_1",
}
SHORT_PRMBENCH = {
    "id": 7,
    "kind": "domain",
    "question": QUESTION,
    "steps": STEPS,
    "error_steps": [2],
}
PROCESSBENCH = {
    "id": "gsm8k-1",
    "generator": "Qwen2-7B",
    "problem": QUESTION,
    "steps": STEPS,
    "final_answer_correct": False,
    "label": 1,
}


def written(tmp_path: Path, *rows: Any) -> Path:
    path = tmp_path / "labels.jsonl"
    path.write_text("".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows))
    return path


@pytest.mark.parametrize(
    ("row", "layout"),
    [
        (TRL, "TRL"),
        (SHEPHERD, "Math-Shepherd"),
        (PRMBENCH, "PRMBench"),
        (SHORT_PRMBENCH, "PRMBench"),
        (PROCESSBENCH, "ProcessBench"),
    ],
    ids=["trl", "shepherd", "prmbench", "prmbench-short", "processbench"],
)
def test_a_layout_is_read(tmp_path: Path, row: dict[str, Any], layout: str) -> None:
    found = read_labels(written(tmp_path, row))
    assert (found.layout, found.bad) == (layout, [])
    [solution] = found.solutions
    assert solution.question == QUESTION
    texts = [text.removeprefix("Step 1: ") for text in solution.texts]
    texts = [text.partition(": ")[2] if text.startswith("Step ") else text for text in texts]
    assert texts == STEPS
    assert [step.right for step in solution.steps] == [True, False, False]
    assert solution.first_wrong == WRONG
    assert len(solution.up_to_first_error().steps) == 2


def test_a_solution_without_an_error_is_right_to_its_end(tmp_path: Path) -> None:
    found = read_labels(written(tmp_path, PROCESSBENCH | {"label": -1}))
    assert found.solutions[0].first_wrong is None


def test_prm800k_gives_the_chosen_path_and_a_solution_for_each_wrong_alternative(
    tmp_path: Path,
) -> None:
    steps = [
        {
            "completions": [{"text": "3 + 4 = 7.", "rating": 1}, {"text": "Hm.", "rating": 0}],
            "chosen_completion": 0,
            "human_completion": None,
        },
        {
            "completions": [{"text": "2 * 7 = 15.", "rating": -1}, {"text": "So?", "rating": None}],
            "chosen_completion": None,
            "human_completion": {"text": "2 * 7 = 14.", "rating": None},
        },
        {
            "completions": [{"text": "It is 15.", "rating": -1}],
            "chosen_completion": None,
            "human_completion": None,
        },
    ]
    row = {
        "question": {"problem": QUESTION, "ground_truth_answer": "14"},
        "label": {"steps": steps, "finish_reason": "found_error"},
    }
    found = read_labels(written(tmp_path, row))
    labelled = [(list(s.texts), [step.right for step in s.steps]) for s in found.solutions]
    assert labelled == [
        (["3 + 4 = 7.", "2 * 7 = 15."], [True, False]),
        (["3 + 4 = 7.", "2 * 7 = 14.", "It is 15."], [True, True, False]),
        (["3 + 4 = 7.", "2 * 7 = 14."], [True, True]),
    ]
    assert {s.problem for s in found.solutions} == {"1"}
    assert [s.answer_right for s in found.solutions] == [None, None, None]


def test_bad_lines_are_told_with_their_number_and_stop_no_other(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        TRL,
        {"text": "nothing that is known"},
        TRL | {"labels": [True]},
        TRL | {"labels": [True, "yes", False]},
        TRL | {"soft_labels": [0.5, 2, 0]},
        PROCESSBENCH | {"label": 3},
        {**SHEPHERD, "label": SHEPHERD["label"].replace(" -", "")},
        TRL | {"completions": ["a", " ", "c"]},
    )
    found = read_labels(path)
    assert len(found.solutions) == 1
    reasons = {line.number: line.reason for line in found.bad}
    assert sorted(reasons) == [2, 3, 4, 5, 6, 7, 8]
    assert "no layout of labelled steps has the keys 'text'" in reasons[2]
    assert reasons[3] == '"labels" has 1 entries for 3 steps'
    assert "'yes'" in reasons[4]
    assert "in [0, 1], not 2" in reasons[5]
    assert "step 4 is said to be wrong, but there are 3" in reasons[6]
    assert "does not end each of 3 steps in + or -" in reasons[7]
    assert "a step must be a text, not ' '" in reasons[8]


def test_a_row_survives_a_round_trip() -> None:
    row = {
        **TRL,
        "soft_labels": [0.75, 0.0, None],
        "rollouts": [[3, 4], [0, 8], None],
        "id": "a/1",
        "problem": "a",
        "source": "draft",
        "given": 1,
        "answer_right": False,
        "kind": None,
        "origin": {"temperature": 0.7},
    }
    assert to_row(from_row(row, 1)) == row
