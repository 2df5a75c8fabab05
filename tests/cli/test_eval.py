from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rsdecode.cli.eval import split_data

from .conftest import Rsd, run, spawn, write_lines

QUESTIONS = 12
SLOW = """
import time

def score(question, steps):
    time.sleep({pause})
    return 0.9 if len(steps) != 2 else 0.2
"""


@pytest.fixture
def questions(tmp_path: Path, models: list[str]) -> list[str]:
    """Options of a run on a file of questions; draft and target of the script say 4."""
    lines = [{"question": f"What is {n} + 2?", "answer": str(n + 2)} for n in range(QUESTIONS)]
    path = write_lines(tmp_path / "q.jsonl", *lines)
    return ["eval", "--data", path.name, "--out", "out", *models]


def slow(questions: list[str], tmp_path: Path, pause: float, count: int = QUESTIONS) -> list[str]:
    """The same with a reward that takes its time, and more questions."""
    (tmp_path / "slow_judge.py").write_text(SLOW.format(pause=pause))
    lines = [{"question": f"What is {n} + 2?", "answer": str(n + 2)} for n in range(count)]
    write_lines(tmp_path / "q.jsonl", *lines)
    return [*questions[:-1], "python:slow_judge:score", "--methods", "rsd", "--concurrency", "4"]


def test_the_method_of_a_file_is_evaluated(rsd: Rsd, questions: list[str], tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("method: rsd@0.05\n")
    given = [*questions, "--limit", "1", "--config", "run.yaml"]
    assert rsd(*given).code == 0
    assert {key[0] for key in stored(tmp_path / "out")} == {"draft", "target", "rsd@0.05"}
    assert rsd(*given, "--methods", "rsd").code == 0
    metas = [json.loads(p.read_text()) for p in (tmp_path / "out/cells").glob("[!.]*.json")]
    [ours] = [meta for meta in metas if meta["method"] == "rsd"]
    assert ours["config"]["weighting"]["threshold"] == 0.05


def test_answers_that_ran_out_of_time_are_told_by_the_exit_code(
    rsd: Rsd, questions: list[str], tmp_path: Path
) -> None:
    given = [*slow(questions, tmp_path, 0.5, count=2), "--timeout", "0.1"]
    assert rsd(*given).code == 1


def stored(folder: Path) -> dict[tuple[str, str, int], dict[str, Any]]:
    """All answers by method, id and sample, without times; each must be there once."""
    found: dict[tuple[str, str, int], dict[str, Any]] = {}
    for path in (folder / "cells").glob("[!.]*.jsonl"):
        meta = json.loads(path.with_suffix(".json").read_text())
        for line in path.read_text().splitlines():
            record = json.loads(line)
            for name in ("crc", "seconds", "elapsed"):
                del record[name]
            for usage in record["usage"].values():
                del usage["seconds"]
            key = meta["method"], record["id"], record["sample"]
            assert key not in found
            found[key] = record
    return found


def lines_in(folder: Path) -> int:
    return sum(p.read_bytes().count(b"\n") for p in (folder / "cells").glob("[!.]*.jsonl"))


def wait_until(condition: Callable[[], bool], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.002)


def test_tables_and_files(rsd: Rsd, questions: list[str], tmp_path: Path) -> None:
    result = rsd(*questions)
    assert result.code == 0
    for word in ("q.jsonl: 12 answers", "draft", "target", "rsd", "8.3 % [1.5, 35.4]", "67%"):
        assert word in result.out
    assert "\x1b" not in result.out + result.err
    assert result.err.splitlines()[:3] == [
        "results: out",
        "q.jsonl draft: 12 answers",
        "q.jsonl draft: 12 of 12 · 8.3% right · " + result.err.splitlines()[2].split(" · ")[2],
    ]
    asked = json.loads((tmp_path / "out/run.json").read_text())
    assert asked["methods"] == ["draft", "target", "rsd"]
    assert asked["config"]["weighting"]["threshold"] == 0.7
    answers = stored(tmp_path / "out")
    assert len(answers) == 3 * QUESTIONS
    right = answers["rsd", "3", 0]  # the third line, 2 + 2
    assert right["question"] == "What is 2 + 2?"
    assert right["grade"] == {
        "correct": True, "extracted": "4", "reference": "4", "rule": "identical",
    }  # fmt: skip
    assert sum(r["grade"]["correct"] for r in answers.values()) == 3


def test_json_has_the_form_of_the_demo(rsd: Rsd, questions: list[str]) -> None:
    result = rsd(*questions, "--json", "--methods", "target,rsd")
    assert result.code == 0
    [record] = result.records
    assert (record["sweep"], record["data"], record["out"]) == ([], ["q.jsonl"], "out")
    target, ours = record["methods"]
    assert (target["method"], target["to_target"]) == ("target", None)
    assert (ours["method"], ours["data"]) == ("rsd", "q.jsonl")
    assert ours["acceptance_rate"] == pytest.approx(2 / 3)
    assert ours["to_target"]["pairs"] == QUESTIONS
    assert ours["to_target"]["p_value"] == 1.0


def test_more_problems_and_samples_go_on(rsd: Rsd, questions: list[str], tmp_path: Path) -> None:
    one = [*questions, "--methods", "rsd"]
    assert rsd(*one, "--limit", 5).code == 0
    before = stored(tmp_path / "out")
    assert len(before) == 5
    more = rsd(*one, "--limit", 9, "--samples", 2)
    assert "18 answers, 5 of them before" in more.err
    after = stored(tmp_path / "out")
    assert len(after) == 18
    assert before.items() <= after.items()
    again = rsd(*one, "--limit", 5, "--slots", 3, "--json")
    assert "all answers are there already" in again.err
    assert again.records[0]["methods"][0]["answers"] == 5  # of what is stored, what is asked for
    assert len(list((tmp_path / "out/cells").glob("*.jsonl"))) == 1


def test_settings_and_thresholds_never_mix(rsd: Rsd, questions: list[str], tmp_path: Path) -> None:
    result = rsd(*questions, "--methods", "rsd@0.1,rsd@0.5", "--json")
    rates = [method["acceptance_rate"] for method in result.records[0]["methods"]]
    assert rates == [1.0, pytest.approx(2 / 3)]
    assert rsd(*questions, "--methods", "rsd,draft", "--threshold", 0.1).code == 0
    assert rsd(*questions, "--methods", "rsd,draft", "--threshold", 0.5).code == 0
    assert rsd(*questions, "--methods", "draft", "--seed", 1).code == 0
    names = sorted(p.name.split("--")[1] for p in (tmp_path / "out/cells").glob("*.jsonl"))
    assert names == ["draft", "draft", "rsd", "rsd", "rsd@0.1", "rsd@0.5"]


def test_answers_of_other_code_are_not_gone_on_with(
    rsd: Rsd, questions: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [*questions, "--methods", "draft"]
    assert "another version" not in rsd(*command, "--limit", 3).err
    for name in ("results.identity", "evals.plan"):
        monkeypatch.setattr(f"rsdecode.{name}.code_version", lambda: "other")
    again = rsd(*command, "--limit", 3)
    assert "3 answers" in again.err
    assert "before" not in again.err
    assert "was answered by another version of the code" in again.err
    paths = list((tmp_path / "out/cells").glob("*.jsonl"))
    assert [len(path.read_text().splitlines()) for path in paths] == [3, 3]
    assert "another version" not in rsd(*command, "--limit", 4).err
    other = rsd(*command, "--limit", 3, "--temperature", 0.5)  # of settings nothing is said
    assert "another version" not in other.err


def test_a_finished_run_loads_no_model(rsd: Rsd, questions: list[str], tmp_path: Path) -> None:
    first = rsd(*questions, "--json")
    (tmp_path / "draft.json").rename(tmp_path / "elsewhere.json")
    moved = [option.replace("draft.json", "elsewhere.json") for option in questions]
    again = rsd(*moved, "--json")  # known by its content, wherever it lies
    assert again.code == 0
    assert again.out == first.out


def test_shards_come_to_what_one_run_comes_to(
    rsd: Rsd, questions: list[str], tmp_path: Path
) -> None:
    shared, apart = [*questions], [*questions]
    for i in (1, 2, 3):
        shared[shared.index("--out") + 1] = "shared"
        apart[apart.index("--out") + 1] = f"apart{i}"
        assert rsd(*shared, "--shard", f"{i}/3").code == 0
        assert rsd(*apart, "--shard", f"{i}/3", "--limit", 8).code == 0
    assert rsd(*questions).code == 0
    whole = stored(tmp_path / "out")
    assert stored(tmp_path / "shared") == whole
    parts = [stored(tmp_path / f"apart{i}") for i in (1, 2, 3)]
    assert sum(map(len, parts)) == 3 * 8
    assert all(part.items() <= whole.items() for part in parts)
    done = rsd(*shared)
    assert "all answers are there already" in done.err


def test_damaged_and_torn_lines_are_told_and_done_again(
    rsd: Rsd, questions: list[str], tmp_path: Path
) -> None:
    one = [*questions, "--methods", "draft"]
    assert rsd(*one).code == 0
    whole = stored(tmp_path / "out")
    [path] = (tmp_path / "out/cells").glob("*.jsonl")
    lines = path.read_bytes().splitlines(keepends=True)
    lines[3] = lines[3].replace(b"2 + 2", b"2 + 3")
    path.write_bytes(b"".join(lines)[:-20])
    result = rsd(*one)
    assert result.code == 0
    assert "1 damaged line (first: line 4)" in result.err
    assert "the last line was cut off" in result.err
    assert "12 answers, 10 of them before" in result.err
    assert stored(tmp_path / "out") == whole


def test_failures_are_told_and_tried_again(rsd: Rsd, questions: list[str], tmp_path: Path) -> None:
    (tmp_path / "moody.py").write_text(
        "import os\n"
        "def score(question, steps):\n"
        "    if os.path.exists('broken') and ' 7 ' in question: raise OSError('no luck')\n"
        "    return 0.9\n"
    )
    one = [*questions[:-1], "python:moody:score", "--methods", "rsd"]
    (tmp_path / "broken").touch()
    result = rsd(*one)
    assert result.code == 1
    assert "rsd: error: problem '8': reward" in result.err or "no luck" in result.err
    answers = stored(tmp_path / "out")
    assert answers["rsd", "8", 0]["grade"]["rule"] == "failed"
    (tmp_path / "broken").unlink()
    result = rsd(*one)
    assert result.code == 0
    assert "12 answers, 11 of them before" in result.err
    assert stored(tmp_path / "out")["rsd", "8", 0]["stop_reason"] == "eos"


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["--methods", "rds"], "unknown method 'rds'"),
        (["--methods", ","], "no method"),
        (["--method", "draft"], "--methods A,B"),
        (["--data", "gsm9k"], "unknown data set 'gsm9k'"),
        (["--data", "missing.jsonl"], "missing.jsonl"),
        (["--shard", "4/3"], "must be i/n"),
        (["--limit", "0"], "--limit"),
        (["--threshold", "2"], "--threshold"),
        (["--out", "q.jsonl"], "cannot be written"),
        (["--draft", "scripted:gone.json"], "gone.json"),
    ],
)
def test_what_is_wrong_is_named(
    rsd: Rsd, questions: list[str], options: list[str], part: str
) -> None:
    result = rsd(*questions, *options)
    assert result.code == 2
    assert result.err.splitlines()[-1].startswith("error: ")
    assert part in result.err
    assert result.out == ""


def test_levels_belong_to_their_data_set() -> None:
    names = split_data("abacus:test:2,3, gsm8k,abacus:validation:1,x.jsonl,")
    assert names == ("abacus:test:2,3", "gsm8k", "abacus:validation:1", "x.jsonl")


@pytest.mark.parametrize(
    ("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["ctrl-c", "sigterm"]
)
def test_two_writers_are_refused_and_an_interrupt_is_clean(
    questions: list[str], tmp_path: Path, sent: signal.Signals, code: int
) -> None:
    command = slow(questions, tmp_path, 0.5, 60)
    process = spawn(*command, cwd=tmp_path)
    try:
        wait_until(lambda: lines_in(tmp_path / "out") >= 2)
        second = run(*command, cwd=tmp_path)
        assert second.code == 2
        assert "out is being written by another rsd" in second.err
        process.send_signal(sent)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == code
    done = lines_in(tmp_path / "out")
    assert err.decode().splitlines()[-1] == (
        f"interrupted: {done} answers added; the same command goes on from here"
    )


@pytest.mark.parametrize(
    ("kills", "count"),
    [
        (3, 16),
        pytest.param(
            20,
            200,
            marks=pytest.mark.skipif(
                not os.environ.get("RSD_MANY_KILLS"), reason="a minute; set RSD_MANY_KILLS=1"
            ),
        ),
    ],
)
def test_killed_at_any_moment_nothing_is_lost_or_doubled(
    questions: list[str], tmp_path: Path, kills: int, count: int
) -> None:
    command = slow(questions, tmp_path, 0.01, count)
    draw = random.Random(7)
    moments = sorted(draw.randrange(count - 4) for _ in range(kills))
    for moment in moments:
        process = spawn(*command, cwd=tmp_path, stderr=subprocess.DEVNULL)
        try:
            wait_until(lambda moment=moment: lines_in(tmp_path / "out") >= moment)
            time.sleep(draw.random() * 0.02)
        finally:
            process.kill()
            process.communicate(timeout=30)
    assert lines_in(tmp_path / "out") < count
    result = run(*command, cwd=tmp_path, timeout_s=120)
    assert result.code == 0
    assert f"{count} answers" in result.err
    whole = [option if option != "out" else "whole" for option in command]
    assert run(*whole, cwd=tmp_path, timeout_s=120).code == 0
    answers = stored(tmp_path / "out")
    assert len(answers) == count
    assert answers == stored(tmp_path / "whole")


def test_a_method_of_which_every_request_failed_has_no_accuracy(
    rsd: Rsd, questions: list[str], tmp_path: Path
) -> None:
    code = "def score(question, steps): raise OSError('no such model')\n"
    (tmp_path / "gone.py").write_text(code)
    asked = [*questions[:-1], "python:gone:score", "--methods", "rsd,target", "--limit", "4"]
    shown = rsd(*asked)
    assert shown.code == 1
    [row] = [line for line in shown.out.splitlines() if line.split()[:1] == ["rsd"]]
    assert row.split()[1] == "-"
    assert "rsd: every request failed, so there is no accuracy: " in shown.err
    assert "no such model" in shown.err
    stored = {m["method"]: m for m in json.loads(rsd(*asked, "--json").out)["methods"]}
    assert stored["rsd"]["accuracy"] is None
    assert stored["rsd"]["to_target"] is None
    assert "no such model" in stored["rsd"]["failed"]
    assert stored["target"]["accuracy"] is not None
    assert stored["target"]["failed"] is None
    reported = rsd("report", "out")
    assert reported.code == 0
    files = ["report.md", "report.html", "report.json"]
    assert reported.err.splitlines()[-3:] == [f"written: out/{name}" for name in files]
    Path("report.yaml").write_text("folders: [out]\nout: elsewhere\n")
    assert rsd("report", "--config", "report.yaml").code == 0
    assert Path("elsewhere/report.html").is_file()
    text = Path("out/report.md").read_text()
    assert "rsd on q.jsonl: every request failed, so there is no accuracy" in text
    [line] = [line for line in text.splitlines() if line.startswith("| rsd | 4")]
    assert line.split("|")[3].strip() == "–"
