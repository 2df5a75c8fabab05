from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rsdecode.cli.table import print_compared
from rsdecode.results.comparison import compare_methods
from rsdecode.results.store import ResultSet, read_result_sets
from tests.evals.report.runs import write_run


@pytest.fixture
def target(tmp_path: Path) -> ResultSet:
    """The target's answer to one problem."""
    write_run(tmp_path, ["target"], count=1)
    [result_set] = read_result_sets(tmp_path)
    return result_set


def test_one_answer_and_columns_that_say_what_they_count(
    target: ResultSet, capsys: pytest.CaptureFixture[str]
) -> None:
    print_compared("numbers", compare_methods([target]))
    title, _, units, names, *_ = capsys.readouterr().out.splitlines()
    assert title.strip() == "numbers: 1 answer"
    assert names.split()[-5:] == ["tokens", "tokens", "tokens", "FLOPs", "exact"]
    assert units.split() == ["draft", "target", "PRM"]


def test_where_single_tokens_were_decided_their_share_is_shown(
    target: ResultSet, capsys: pytest.CaptureFixture[str]
) -> None:
    [record] = target.records
    judged = {**record["usage"]["target"], "verified_tokens": 8, "accepted_tokens": 6}
    records = [{**record, "usage": {**record["usage"], "target": judged}}]
    print_compared("numbers", compare_methods([replace(target, records=records)]))
    [row] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  target")]
    assert "75%" in row
