"""Thoughts through the commands: shown apart, stored apart, reported, and graded without."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import Rsd

THOUGHTS = ["<think>\nIs it \\boxed{5}?\n\n", "No, it is 4.\n</think>"]
ANSWER = ["\n\nThe answer is \\boxed{4}."]


@pytest.fixture
def thinking(tmp_path: Path) -> list[str]:
    script = tmp_path / "thinking.json"
    steps = {"*": [*THOUGHTS, *ANSWER]}
    script.write_text(json.dumps({"generate": steps, "score": {"*": [0.9]}}))
    spec = f"scripted:{script}"
    models = ["--draft", spec, "--target", spec, "--reward", spec, "--system", ""]
    return [*models, "--thinking-boundary", "paragraphs:0"]


def test_solve_shows_thoughts_apart(rsd: Rsd, thinking: list[str]) -> None:
    result = rsd("solve", "What is 2 + 2?", *thinking)
    assert result.code == 0, result.err
    lines = result.out.splitlines()
    assert lines[0] == "  (draft)       | <think>"
    assert [line for line in lines if line.startswith("  draft 0.90")]
    assert "answer: 4" in lines
    assert "thoughts 9 tokens" in lines[-1]
    assert "accepted 100% of 1 step" in lines[-1], "of those that were judged"


def test_records_mark_thoughts(rsd: Rsd, thinking: list[str]) -> None:
    [record] = rsd("solve", "What is 2 + 2?", "--json", *thinking).records
    assert record["answer"] == "4"
    assert [step.get("thought") for step in record["steps"]] == [True, True, None]
    assert [step["reward"] for step in record["steps"]] == [None, None, 0.9]


def test_a_budget_shows_where_it_closed(rsd: Rsd, thinking: list[str]) -> None:
    result = rsd("solve", "What is 2 + 2?", "--thinking-budget", 3, *thinking)
    assert result.code == 0, result.err
    assert [line for line in result.out.split("\n") if "(budget)" in line]
    assert "answer: 4" in result.out


def test_an_evaluation_reports_thoughts(rsd: Rsd, thinking: list[str], tmp_path: Path) -> None:
    data = tmp_path / "data.jsonl"
    data.write_text('{"question": "What is 2 + 2?", "answer": "4"}\n')
    out = tmp_path / "runs"
    evaluated = rsd("eval", "--data", data, "--methods", "draft,rsd", "--out", out, *thinking)
    assert evaluated.code == 0, evaluated.err
    reported = rsd("report", out, "--out", tmp_path / "report", "--no-pictures")
    assert reported.code == 0, reported.err
    report = (tmp_path / "report" / "report.md").read_text()
    assert "Thoughts" in report
    assert "closed by the budget" in report


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--thinking", "maybe"], "--thinking 'maybe'"),
        (["--thinking-budget", "-1"], "--thinking-budget -1"),
        (["--thoughts-by", "rsd", "--thinking-score", "answer"], "needs a judge"),
        (["--thinking-gate", "nonsense"], "nonsense"),
    ],
)
def test_bad_settings_are_one_line(rsd: Rsd, options: list[str], named: str) -> None:
    result = rsd("solve", "What is 2 + 2?", *options)
    assert result.code == 2
    assert named in result.err
    assert len(result.err.strip().splitlines()) == 1
