"""The data sets themselves, which are not shipped: RSD_DATA names a folder of NAME.jsonl files."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from benchmarks.grading import checks, grade_all
from rsdecode.evals.datasets import DATASETS, dataset_named, load_dataset
from rsdecode.evals.grading import GradingPool

FOLDER = Path(os.environ.get("RSD_DATA", "no data sets here"))
pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not FOLDER.is_dir(), reason="RSD_DATA names no folder of data sets"),
]
SETS = ["gsm8k", "math500", "olympiadbench", "gaokao2023en", "mmlu_stem", "svamp"]
JUDGED = {
    ("crossed", r"\boxed{5}", "x=5"),
    ("crossed", r"\boxed{$-2$}", r"$\{-2\}$"),
    ("announced", r"\boxed{\text{The answer is } $t(0,4]$}", "$t(0,4]$"),  # a misprint: t in (0,4]
}
"""What is not as expected, and rightly so."""


def path_of(name: str) -> Path:
    path = FOLDER / f"{name}.jsonl"
    if not path.exists():
        pytest.skip(f"no {path}")
    return path


@pytest.mark.parametrize("name", [name for name in DATASETS if name != "abacus"])
def test_every_set_loads(name: str) -> None:
    path = path_of(name)
    problems = load_dataset(f"{name}@{path}")
    assert len(problems) > 20
    assert len({problem.id for problem in problems}) == len(problems)
    assert sum(not problem.answer for problem in problems) < 0.01 * len(problems)


@pytest.mark.parametrize("name", SETS)
def test_references_are_right_and_those_of_other_problems_wrong(name: str) -> None:
    todo = list(checks(name, path_of(name)))
    solutions = {"solution"} if name in ("gsm8k", "math500") else set[str]()
    assert {check.form for check in todo} == {"answer", "announced", "crossed"} | solutions
    with GradingPool(1) as pool:
        graded = asyncio.run(grade_all(todo, dataset_named(name).answer_type, pool))
    faults = [
        (check, verdict)
        for check, verdict in graded
        if verdict.correct is not check.expected
        and (check.form, check.text, check.reference) not in JUDGED
    ]
    assert not faults
