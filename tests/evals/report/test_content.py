"""Every number of a report, recomputed from the stored lines without the code that reports them."""

from __future__ import annotations

import json
import math
import zlib
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import binomtest

from rsdecode.cli.main import main
from rsdecode.core.errors import ConfigError
from rsdecode.evals.report.content import read_report
from rsdecode.evals.report.paper import DATASETS, TABLE_2, paper_figures
from tests.evals.report.runs import write_run
from tests.results.test_summary import flat, recomputed

PARAMETERS = {"draft": 1_000, "target": 9_000, "reward": 2_000}


def stored(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Records by method, read as anyone would who knows the form of the lines."""
    found: dict[str, list[dict[str, Any]]] = {}
    for meta in (folder / "cells").glob("*.json"):
        lines = meta.with_suffix(".jsonl").read_text().splitlines()
        for line in lines:
            record = json.loads(line)
            crc = record.pop("crc")
            assert int(crc, 16) == zlib.crc32(json.dumps(record).encode())
        found[json.loads(meta.read_text())["method"]] = [json.loads(line) for line in lines]
    return found


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("run"), ("draft", "target", "rsd", "rsd@0.4"))


@pytest.fixture
def numbers(run: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, Any]]:
    assert main(["report", str(run), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    [data] = report["datasets"]
    assert (data["data"], data["target"], report["warnings"]) == ("numbers", "target", [])
    return {method["label"]: method for method in data["methods"]}


def test_accuracy_and_shares(run: Path, numbers: dict[str, dict[str, Any]]) -> None:
    for method, records in stored(run).items():
        row, n = numbers[method], len(records)
        right = [r["grade"]["correct"] for r in records]
        interval = binomtest(sum(right), n).proportion_ci(0.95, method="wilson")
        assert row["answers"] == row["expected_answers"] == n
        assert row["accuracy"] == sum(right) / n
        assert (row["accuracy_low"], row["accuracy_high"]) == pytest.approx(tuple(interval))
        ended = sum(r["stop_reason"] in ("length", "max_steps") for r in records)
        assert row["truncation_rate"] == ended / n
        alone = [
            ok and all(s["source"] == "draft" for s in r["steps"])
            for ok, r in zip(right, records, strict=True)
        ]
        assert row["draft_alone"] == sum(alone) / n
        steps = [s for r in records for s in r["steps"] if s["weight"] is not None]
        if method.startswith("rsd"):
            kept = [s for s in steps if s["accepted"]]
            assert row["acceptance_rate"] == len(kept) / len(steps)
            tokens = sum(s["tokens"] for s in kept) / sum(s["tokens"] for s in steps)
            assert row["token_acceptance_rate"] == pytest.approx(tokens)
        else:
            assert row["acceptance_rate"] is None
        seconds = sorted(r["seconds"] for r in records)
        middle = (seconds[(n - 1) // 2] + seconds[n // 2]) / 2
        assert row["latency"]["p50"] == pytest.approx(middle)


def test_tokens_and_flops(run: Path, numbers: dict[str, dict[str, Any]]) -> None:
    totals: dict[str, float] = {}
    for method, records in stored(run).items():
        row, paper = numbers[method], 0.0
        for role, parameters in PARAMETERS.items():
            used = sum(r["usage"][role]["decoded_tokens"] for r in records)
            if role == "reward":
                used += sum(r["usage"][role]["prefill_tokens"] for r in records)
            assert row["tokens"][role] == used
            assert row["flops_by_role"][role]["paper"] == 2 * parameters * used
            paper += 2 * parameters * used
        assert row["flops"]["paper"] == paper
        exact = math.fsum(r["flops"]["exact"] for r in records)
        assert row["flops"]["exact"] == pytest.approx(exact)
        totals[method] = paper
    for method, paper in totals.items():
        assert numbers[method]["relative_flops"]["paper"] == pytest.approx(paper / totals["target"])


def test_every_number_of_the_summaries(run: Path, numbers: dict[str, dict[str, Any]]) -> None:
    """By the plain recomputation of tests/evals/test_summary.py."""
    metas = [json.loads(path.read_text()) for path in (run / "cells").glob("*.json")]
    shapes = {meta["method"]: meta["shapes"] for meta in metas}
    for method, records in stored(run).items():
        expected = flat(recomputed(records, shapes[method]))
        shown = flat(numbers[method])
        assert {name: shown[name] for name in expected} == pytest.approx(
            expected, rel=1e-9, nan_ok=True
        )


def test_comparison_with_the_target(run: Path, numbers: dict[str, dict[str, Any]]) -> None:
    right = {m: {r["id"]: r["grade"]["correct"] for r in rs} for m, rs in stored(run).items()}
    for method in ("draft", "rsd", "rsd@0.4"):
        against, ids = numbers[method]["to_target"], right["target"]
        won = sum(right[method][i] and not right["target"][i] for i in ids)
        lost = sum(right["target"][i] and not right[method][i] for i in ids)
        assert (against["won"], against["lost"]) == (won, lost)
        difference = against["difference"]
        assert difference["estimate"] == pytest.approx((won - lost) / len(ids))
        n, gained = len(ids) + 2, won - lost  # half a problem more in each of the four outcomes
        half = 1.959963984540054 * math.sqrt(won + lost + 1 - gained**2 / n) / n
        ends = gained / n - half, gained / n + half
        assert (difference["low"], difference["high"]) == pytest.approx(ends)
        p = binomtest(won, won + lost).pvalue if won + lost else 1.0
        assert against["p_value"] == pytest.approx(p)
    assert numbers["target"]["to_target"] is None


def test_patterns(run: Path, numbers: dict[str, dict[str, Any]]) -> None:
    records, seen = stored(run)["rsd"], numbers["rsd"]["patterns"]
    for name, wanted in (("right", True), ("wrong", False)):
        rewards = [
            s["reward"] for r in records for s in r["steps"] if r["grade"]["correct"] is wanted
        ]
        assert sum(seen["rewards"][name]) == len(rewards)
        assert seen["rewards"][name][19] == sum(reward >= 0.95 for reward in rewards)
    for name, wanted in (("accepted", True), ("rejected", False)):
        counts = seen["rewards"][name]
        rewards = [s["reward"] for r in records for s in r["steps"] if s["accepted"] is wanted]
        assert sum(counts) == len(rewards)
    assert sum(seen["rewards"]["accepted"][:14]) == 0  # the threshold is 0.7
    assert seen["steps"] == [len(records)] * 3
    assert seen["accepted"] == [sum(r["steps"][i]["accepted"] for r in records) for i in range(3)]
    first = sum(r["steps"][0]["source"] == "draft" for r in records) / len(records)
    assert seen["draft_share"][0] == pytest.approx(first)
    written = [
        sum(len(s["text"]) for s in r["steps"] if s["source"] == "draft") / len(r["text"])
        for r in records
    ]
    mean = sum(seen["draft_share"]) / len(seen["draft_share"])
    assert mean == pytest.approx(sum(written) / len(written))


def test_what_is_incomplete_or_damaged_is_said(tmp_path: Path) -> None:
    folder = write_run(tmp_path, ("target", "rsd"), count=6, asked=8)
    [lines] = (folder / "cells").glob("*--rsd--*.jsonl")
    data = lines.read_bytes().splitlines(keepends=True)
    lines.write_bytes(data[0].replace(b"three", b"tree!", 1) + b"".join(data[1:])[:-9])
    [group] = (report := read_report([folder])).groups
    assert [row.summary.answers for row in group.rows] == [6, 4]
    said = "\n".join(report.warnings)
    assert "target on numbers: 6 of 8 answers" in said
    assert "rsd on numbers: 4 of 8 answers" in said
    assert "rsd on numbers: 2 damaged lines are left out" in said


def test_parts_of_a_cell_in_two_folders_and_two_runs_of_one_name(tmp_path: Path) -> None:
    one = write_run(tmp_path / "1", ("target", "rsd"), count=4)
    two = write_run(tmp_path / "2", ("rsd",), count=9)
    [group] = read_report([one, two]).groups
    assert {row.label: row.summary.answers for row in group.rows} == {"target": 4, "rsd": 9}
    [meta] = (two / "cells").glob("*.json")
    other = json.loads(meta.read_text()) | {"key": "feedfacefeedface"}
    lines = meta.with_suffix(".jsonl").read_bytes()
    (two / "cells" / "other.json").write_text(json.dumps(other))
    (two / "cells" / "other.jsonl").write_bytes(lines)
    [group] = read_report([two]).groups
    assert len({row.label for row in group.rows}) == 2
    assert all(row.label.startswith("rsd (") for row in group.rows)


def test_without_target_or_shapes(tmp_path: Path) -> None:
    report = read_report([write_run(tmp_path, ("rsd",), count=3, known_shapes=False)])
    [row] = report.groups[0].rows
    assert row.to_target is None
    assert row.summary.flops.paper is None
    assert "numbers: without the method target" in report.warnings[0]


def test_nothing_to_report(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no results"):
        read_report([tmp_path])
    assert main(["report", str(tmp_path / "missing")]) == 2


def test_the_papers_table() -> None:
    means = [65.3, 62.75, 64.8, 64.6, 65.9, 66.1, 71.8, 69.8, 68.5, 71.1, 72.7]
    for row, mean in zip(TABLE_2, means, strict=True):
        assert sum(row.accuracy) / len(DATASETS) == pytest.approx(mean, abs=0.0501)
    assert [f.accuracy for f in paper_figures("gsm8k@my.jsonl", "rsd@0.5")] == [94.5, 95.5, 96.7]
    assert [f.accuracy for f in paper_figures("math500", "best-of-8:min")] == [82.2, 86.2]
    assert paper_figures("math500", "process-best-of-4") == []
    assert paper_figures("abacus:test", "rsd") == []
