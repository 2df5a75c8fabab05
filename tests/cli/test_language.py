"""One line says that the embedded family cannot read a question."""

from __future__ import annotations

from pathlib import Path

from .conftest import Rsd, write_lines

STRANGE = "A train covers 60 miles in 2 hours. How far does it get in 5 hours?"
OWN = "Ada has 12 apples. Ada gets 30 more apples. How many apples does Ada have in the end?"
PART = "outside the language of abacus:draft (unknown: train, covers"
DRAFT = ("--method", "draft", "--max-tokens", 8)


def test_solve(rsd: Rsd, tmp_path: Path) -> None:
    assert PART in rsd("solve", STRANGE, "--json", *DRAFT).err
    assert "outside the language" not in rsd("solve", OWN, "--json", *DRAFT).err
    source = write_lines(tmp_path / "in.jsonl", {"question": STRANGE}, {"question": OWN})
    result = rsd("solve", "--input", source, "--json", *DRAFT)
    assert result.err.count("1 of 2 questions are " + PART) == 1


def test_eval(rsd: Rsd, tmp_path: Path) -> None:
    source = write_lines(tmp_path / "in.jsonl", {"question": STRANGE, "answer": "150"})
    asked = ("eval", "--out", "out", "--methods", "draft", "--max-tokens", 8, "--limit", 1)
    assert rsd(*asked, "--data", source.name).err.count(PART) == 1
    assert "outside the language" not in rsd(*asked, "--data", "abacus:test").err


def test_other_models_are_not_spoken_of(rsd: Rsd, models: list[str]) -> None:
    assert "outside the language" not in rsd("solve", STRANGE, "--json", *models).err
