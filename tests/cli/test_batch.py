"""`rsd solve --input --output`: what is kept, what is redone, and what is refused."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rsdecode.cli.main import main

from .conftest import Rsd, read_lines, run, spawn, write_lines

SLOW = """
import time
def score(question, steps):
    time.sleep(0.08)
    return 0.9 if len(steps) != 2 else 0.2
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_lines(tmp_path / "in.jsonl", *({"question": f"question {i}"} for i in range(6)))


@pytest.fixture
def given(source: Path, models: list[str]) -> list[str]:
    return ["solve", "--input", str(source), "--output", "out.jsonl", *models]


@pytest.fixture
def slow(tmp_path: Path, models: list[str]) -> list[str]:
    """Thirty questions of three steps, 0.08 s for each step, one after the other: about 7 s."""
    (tmp_path / "slow_reward.py").write_text(SLOW)
    write_lines(tmp_path / "many.jsonl", *({"id": f"q{i}", "question": f"{i}?"} for i in range(30)))
    files = ["--input", "many.jsonl", "--output", "out.jsonl"]
    reward = ["--reward", "python:slow_reward:score", "--concurrency", "1"]
    return ["solve", *files, *models[:4], *reward]


def wait_until(condition: Callable[[], bool], timeout_s: float = 40) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.01)


def lines_in(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    records = read_lines(path)
    for record in records:
        change(record)
    write_lines(path, *records)


def test_every_question_gets_a_line(rsd: Rsd, given: list[str], tmp_path: Path) -> None:
    result = rsd(*given)
    assert result.code == 0
    assert result.out == ""
    assert "6 of 6 done" in result.err
    assert "accepted 67%" in result.err
    records = {record["id"]: record for record in read_lines(tmp_path / "out.jsonl")}
    assert sorted(records) == ["1", "2", "3", "4", "5", "6"]
    assert records["3"]["question"] == "question 2"
    assert records["3"]["answer"] == "4"


def test_svamp_lines_are_read_as_they_are(rsd: Rsd, models: list[str], tmp_path: Path) -> None:
    line = {"ID": "chal-7", "Body": "Ann has 2 pens.", "Question": "How many?", "Answer": 2.0}
    source = write_lines(tmp_path / "svamp.jsonl", line)
    assert rsd("solve", "--input", source, "--output", "o.jsonl", *models).code == 0
    [record] = read_lines(tmp_path / "o.jsonl")
    assert (record["id"], record["reference"]) == ("chal-7", "2")
    assert record["question"] == "Ann has 2 pens. How many?"


def test_json_goes_to_stdout_with_and_without_a_file(
    rsd: Rsd, given: list[str], source: Path, models: list[str], tmp_path: Path
) -> None:
    alone = rsd("solve", "--input", source, "--json", *models)
    assert (alone.code, len(alone.records)) == (0, 6)
    both = rsd(*given, "--json")
    stored = read_lines(tmp_path / "out.jsonl")
    assert [r["id"] for r in both.records] == [r["id"] for r in stored]
    assert "question" not in both.records[0]


def test_a_second_run_does_nothing(rsd: Rsd, given: list[str], tmp_path: Path) -> None:
    rsd(*given)
    before = (tmp_path / "out.jsonl").read_bytes()
    again = rsd(*given, "--json", "--concurrency", 2)
    assert again.code == 0
    assert again.out == ""
    assert "6 of 6 done, 6 of them before" in again.err
    assert (tmp_path / "out.jsonl").read_bytes() == before


def test_new_questions_and_samples_are_added(
    rsd: Rsd, given: list[str], source: Path, tmp_path: Path
) -> None:
    rsd(*given)
    write_lines(source, *({"question": f"question {i}"} for i in range(8)))
    assert [r["id"] for r in rsd(*given, "--json").records] == ["7", "8"]
    more = rsd(*given, "--json", "--samples", 2)
    assert {(r["id"], r["sample"]) for r in more.records} == {(str(i), 1) for i in range(1, 9)}
    assert lines_in(tmp_path / "out.jsonl") == 16


@pytest.mark.parametrize(
    ("options", "difference"),
    [(["--threshold", "0.5"], "config_hash"), (["--seed", "3"], "seed 0, here 3")],
)
def test_another_run_does_not_mix_in(
    rsd: Rsd, given: list[str], tmp_path: Path, options: list[str], difference: str
) -> None:
    rsd(*given)
    before = (tmp_path / "out.jsonl").read_bytes()
    result = rsd(*given, *options)
    assert result.code == 2
    assert difference in result.err
    assert "--overwrite" in result.err
    assert (tmp_path / "out.jsonl").read_bytes() == before
    assert rsd(*given, *options, "--overwrite").code == 0
    assert lines_in(tmp_path / "out.jsonl") == 6


def test_a_changed_question_is_refused(rsd: Rsd, given: list[str], source: Path) -> None:
    rsd(*given)
    write_lines(source, {"question": "something else"})
    result = rsd(*given)
    assert result.code == 2
    assert "another question of id '1'" in result.err


def test_overwriting_waits_for_the_models(rsd: Rsd, given: list[str], tmp_path: Path) -> None:
    rsd(*given)
    before = (tmp_path / "out.jsonl").read_bytes()
    assert rsd(*given, "--overwrite", "--target", "scripted:no.json").code == 2
    assert (tmp_path / "out.jsonl").read_bytes() == before


@pytest.mark.parametrize("reason", ["error", "cancelled"])
def test_failed_problems_are_tried_again(
    rsd: Rsd, given: list[str], tmp_path: Path, reason: str
) -> None:
    rsd(*given)
    output = tmp_path / "out.jsonl"
    edit(output, lambda record: record["id"] == "4" and record.update(stop_reason=reason))
    result = rsd(*given, "--json")
    assert [record["id"] for record in result.records] == ["4"]
    assert sorted(r["id"] for r in read_lines(output)) == ["1", "2", "3", "4", "5", "6"]
    assert all(r["stop_reason"] == "eos" for r in read_lines(output))


@pytest.mark.parametrize("cut", [1, 2, 40, 300])
def test_a_torn_last_line_is_redone(rsd: Rsd, given: list[str], tmp_path: Path, cut: int) -> None:
    rsd(*given)
    output = tmp_path / "out.jsonl"
    whole = output.read_bytes()
    output.write_bytes(whole[:-cut])
    result = rsd(*given, "--json")
    assert len(result.records) == (0 if cut == 1 else 1)  # only the line's end is missing at 1
    assert len(read_lines(output)) == 6
    assert output.read_bytes().endswith(b"}\n")


@pytest.mark.parametrize("line", [b"not json", b"[1]", b'{"id": 3}', b"\xff\xfe"])
def test_a_file_of_something_else_is_refused(
    rsd: Rsd, given: list[str], tmp_path: Path, line: bytes
) -> None:
    output = tmp_path / "out.jsonl"
    output.write_bytes(line + b"\n{}\n")
    result = rsd(*given)
    assert result.code == 2
    assert "line 1 is not a result of rsd solve" in result.err
    assert output.read_bytes() == line + b"\n{}\n"


def test_permissions_and_links_survive_a_repair(rsd: Rsd, given: list[str], tmp_path: Path) -> None:
    rsd(*given)
    real = tmp_path / "real.jsonl"
    (tmp_path / "out.jsonl").rename(real)
    real.chmod(0o640)
    real.write_bytes(real.read_bytes()[:-30])
    (tmp_path / "out.jsonl").symlink_to(real)
    assert rsd(*given).code == 0
    assert (tmp_path / "out.jsonl").is_symlink()
    assert real.stat().st_mode & 0o777 == 0o640
    assert lines_in(real) == 6
    assert [path.name for path in tmp_path.glob(".out*")] == []


def test_an_input_without_questions_is_no_error(rsd: Rsd, given: list[str], source: Path) -> None:
    source.write_bytes(b"\n\n")
    result = rsd(*given)
    assert result.code == 0
    assert "holds no questions" in result.err


def test_windows_line_ends_and_a_byte_order_mark(
    rsd: Rsd, given: list[str], source: Path, tmp_path: Path
) -> None:
    source.write_bytes(b'\xef\xbb\xbf{"question": "a"}\r\n{"question": "b"}\r\n')
    assert rsd(*given).code == 0
    assert sorted(r["question"] for r in read_lines(tmp_path / "out.jsonl")) == ["a", "b"]


def test_a_terminal_gets_a_bar(given: list[str], tmp_path: Path) -> None:
    parent, child = pty.openpty()
    process = spawn(*given, cwd=tmp_path, stderr=child)
    assert process.wait(timeout=60) == 0
    os.close(child)
    shown = os.read(parent, 65536).decode()
    os.close(parent)
    assert "6/6" in shown
    assert "tok/s" in shown


def test_kill_and_go_on(slow: list[str], tmp_path: Path) -> None:
    """kill -9 in the middle: what is there stays byte for byte, the rest is done once."""
    output = tmp_path / "out.jsonl"
    process = spawn(*slow, cwd=tmp_path, stderr=subprocess.DEVNULL)
    wait_until(lambda: lines_in(output) >= 3)
    process.kill()
    process.wait(timeout=10)
    assert process.returncode == -signal.SIGKILL
    before = output.read_bytes()
    done = before.count(b"\n")
    assert 3 <= done < 30
    with output.open("ab") as file:
        file.write(b'{"id": "q29", "samp')  # as if it had been killed while writing
    result = run(*slow, "--concurrency", "30", cwd=tmp_path)
    assert result.code == 0, result.err
    assert f"30 of 30 done, {done} of them before" in result.err
    assert output.read_bytes().startswith(before)
    assert sorted(r["id"] for r in read_lines(output)) == sorted(f"q{i}" for i in range(30))
    assert all(r["steps"][1]["source"] == "target" for r in read_lines(output))


@pytest.mark.parametrize(
    ("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["ctrl-c", "sigterm"]
)
def test_an_interrupt_keeps_what_is_finished(
    slow: list[str], tmp_path: Path, sent: signal.Signals, code: int
) -> None:
    output = tmp_path / "out.jsonl"
    process = spawn(*slow, cwd=tmp_path)
    wait_until(lambda: lines_in(output) >= 2)
    process.send_signal(sent)
    _, err = process.communicate(timeout=20)
    assert process.returncode == code
    message = err.decode()
    done = len(read_lines(output))
    assert 2 <= done < 30
    assert message.startswith(f"interrupted: {done} of 30 done")
    assert message.count("\n") == 1
    assert "the same command goes on" in message
    result = run(*slow, "--concurrency", "30", cwd=tmp_path)
    assert result.code == 0
    assert f"{done} of them before" in result.err
    assert len(read_lines(output)) == 30


def test_ctrl_c_on_one_question(slow: list[str], tmp_path: Path) -> None:
    (tmp_path / "slow_reward.py").write_text(SLOW.replace("0.08", "1.0"))
    process = spawn("solve", "q", *slow[5:], cwd=tmp_path)
    assert process.stdout is not None
    process.stdout.readline()  # the first step is there
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert err == b"interrupted\n"


def test_two_writers_are_refused(slow: list[str], tmp_path: Path) -> None:
    output = tmp_path / "out.jsonl"
    first = spawn(*slow, cwd=tmp_path, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: lines_in(output) >= 1)
        second = run(*slow, "--overwrite", cwd=tmp_path)
        assert second.code == 2
        assert "is being written by another rsd" in second.err
        assert lines_in(output) >= 1
    finally:
        first.kill()
        first.wait(timeout=10)


def test_results_are_there_as_soon_as_they_are_known(slow: list[str], tmp_path: Path) -> None:
    process = spawn(*slow, cwd=tmp_path, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: lines_in(tmp_path / "out.jsonl") >= 1)
        assert process.poll() is None
        first = (tmp_path / "out.jsonl").read_bytes().splitlines()[0]
        assert json.loads(first)["id"] == "q0"
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait(timeout=10)


def test_a_data_set_and_a_limit(tmp_path: Path) -> None:
    script = tmp_path / "script.json"
    script.write_text(json.dumps({"generate": {"*": ["No idea."]}, "score": {"*": [1.0]}}))
    output = tmp_path / "out.jsonl"
    spec = f"scripted:{script}"
    models = ["--draft", spec, "--target", spec, "--reward", spec]
    given = ["solve", "--input", "abacus:test:2", "--limit", "3", "--output", str(output)]
    assert main([*given, *models]) == 0
    records = [json.loads(line) for line in output.read_text().splitlines()]
    assert sorted(record["id"] for record in records) == [f"test-2-{i:04}" for i in range(3)]
    assert all(record["reference"] for record in records)
    before = output.read_bytes()
    assert main([*given, *models]) == 0  # goes on, with nothing left to do
    assert output.read_bytes() == before
    assert main(["solve", "--input", "abacus:nothing", "--json", *models]) == 2


def test_conversations_are_told_apart_by_all_their_messages(
    rsd: Rsd, models: list[str], tmp_path: Path
) -> None:
    """The last question is the same; what was said before is not."""

    def entry(before: str) -> dict[str, Any]:
        turns = [("user", before), ("assistant", "Yes."), ("user", "Why?")]
        said = [{"role": role, "content": content} for role, content in turns]
        return {"id": "a", "messages": said, "system": "Be brief.", "level": 3}

    path = tmp_path / "in.json"
    path.write_text(json.dumps([entry("Is it 4?")]))
    call = ["solve", "--input", "in.json", "--output", "out.jsonl", *models]
    result = rsd(*call)
    assert result.code == 0
    assert result.err.count("keys that are not read") == 1
    assert "'level' (line 1)" in result.err
    [record] = read_lines(tmp_path / "out.jsonl")
    assert record["question"] == "Why?"
    assert [m["role"] for m in record["messages"]] == ["system", "user", "assistant", "user"]
    before = (tmp_path / "out.jsonl").read_bytes()
    assert rsd(*call).code == 0
    assert (tmp_path / "out.jsonl").read_bytes() == before
    path.write_text(json.dumps([entry("Is it 5?")]))
    refused = rsd(*call)
    assert refused.code == 2
    assert "another question of id 'a'" in refused.err
