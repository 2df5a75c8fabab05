from __future__ import annotations

import json
import random
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from rsdecode.models.abacus import first_error, generate
from rsdecode.training.layouts import read_labels

from .conftest import Rsd, read_lines, run, spawn, write_lines

WHOLE = ["2 + 2 = 4.\n\n", "So it is 5.\n\n", "The answer is \\boxed{4}."]
SCRIPT = {"generate": {"*": WHOLE}}
"""Writes what is left of one answer, wherever it goes on."""
CHECKER = """
import time

def score(question, steps):
    time.sleep({pause})
    return 0.0 if len(steps) == 2 else 1.0
"""


@pytest.fixture
def asked(tmp_path: Path) -> list[str]:
    """Options of a run whose models always answer 4."""
    (tmp_path / "script.json").write_text(json.dumps(SCRIPT))
    (tmp_path / "checking.py").write_text(CHECKER.format(pause=0))
    lines = [{"id": f"q{n}", "question": f"What is {w} + 2?", "answer": "4"}
             for n, w in enumerate("abcdefghijkl")]  # fmt: skip
    write_lines(tmp_path / "q.jsonl", *lines)
    spec = f"scripted:{tmp_path}/script.json"
    return ["prm", "label", "--data", "q.jsonl", "--draft", spec, "--target", spec, "--out", "out"]


CHECKED = ["--by", "checker", "--reward", "python:checking:score"]


def rows(folder: Path) -> dict[str, dict[str, Any]]:
    """All labelled solutions by id; each must be there once."""
    found: dict[str, dict[str, Any]] = {}
    for name in ("train.jsonl", "validation.jsonl"):
        for row in read_lines(folder / name):
            assert row["id"] not in found
            found[row["id"]] = row
    return found


def test_labels_are_written_as_trl_reads_them(rsd: Rsd, asked: list[str], tmp_path: Path) -> None:
    result = rsd(*asked, *CHECKED, "--continued", "0", "--held-out", "0.3", "--keep-easy")
    assert result.code == 0, result.err
    found = rows(tmp_path / "out")
    assert len(found) == 12  # the second sample of each says the same
    assert "left out: 12 solutions: the same solution again" in result.err
    row = found["q0/0"]
    assert row["prompt"] == "What is a + 2?"
    assert row["completions"] == [step.strip() for step in WHOLE]
    assert row["labels"] == [True, False, False]
    assert row["soft_labels"] == [1.0, 0.0, 1.0]
    assert row["answer_right"] is True
    about = json.loads((tmp_path / "out/labels.json").read_text())
    assert about["by"] == "checker"
    assert about["boundary"] == "separator"
    assert about["validation"] > 0
    again = rsd(*asked, *CHECKED, "--continued", "0", "--held-out", "0.3", "--keep-easy")
    assert "24 of them before" in again.err


def test_a_configuration_says_how_many_samples_and_not_how_they_are_drawn(
    rsd: Rsd, asked: list[str], tmp_path: Path
) -> None:
    (tmp_path / "run.yaml").write_text("{run: {samples: 5}, sampling: {draft: {top_p: 0.9}}}")
    given = ["--config", "run.yaml", "--limit", "2", "--continued", "0"]
    result = rsd(*asked, *CHECKED, *given)
    assert result.code == 0, result.err
    assert "q.jsonl: 2 problems, at most 10 solutions" in result.err
    assert "sampling has no effect here: rsd prm label takes --temperatures" in result.err


def test_the_folder_is_a_data_set(rsd: Rsd, asked: list[str], tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    options = [*asked, *CHECKED, "--keep-easy", "--held-out", "0.3"]
    assert rsd(*options).code == 0
    found = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert {row["id"] for part in found.values() for row in part} == set(rows(tmp_path / "out"))
    row = found["train"][0]
    assert len(row["completions"]) == len(row["labels"])
    assert {type(label) for label in row["labels"]} == {bool}
    assert rsd(*asked, *CHECKED, "--keep-easy", "--held-out", "0").code == 0
    alone = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert list(alone) == ["train"]


def test_problems_that_all_or_none_get_right_are_left_out_with_a_count(
    rsd: Rsd, asked: list[str], tmp_path: Path
) -> None:
    lines = [{"question": f"What is {n} + 2?", "answer": str(n + 2)} for n in range(5)]
    write_lines(tmp_path / "q.jsonl", *lines)
    result = rsd(*asked, "--by", "bisect", "--continued", "1")
    assert result.code == 0, result.err
    assert rows(tmp_path / "out") == {}
    assert "left out: 8 solutions: nobody gets the answer right" in result.err
    assert "left out: 3 solutions: everybody gets the answer right" in result.err
    assert "left out: 4 solutions: no right beginning to continue" in result.err
    kept = rsd(*asked, "--by", "bisect", "--continued", "1", "--keep-easy", "--json")
    assert json.loads(kept.out)["right_steps"] > 0
    assert {row["problem"] for row in rows(tmp_path / "out").values()} == {"3"}


def test_questions_without_answers_are_left_out_with_a_count(
    rsd: Rsd, asked: list[str], tmp_path: Path
) -> None:
    lines = [{"question": "What is 2 + 2?"}, {"question": "What is a + 2?", "answer": "4"}, "{"]
    write_lines(tmp_path / "q.jsonl", *lines)
    result = rsd(*asked)
    assert result.code == 1
    assert "1 question without an answer left out (first: '1')" in result.err
    assert "q.jsonl, line 3: not JSON" in result.err
    checked = rsd(*asked, *CHECKED, "--out", "checked")
    assert "without an answer" not in checked.err
    assert len(rows(tmp_path / "checked")) >= 1
    write_lines(tmp_path / "q.jsonl", {"question": "What is 2 + 2?"})
    nothing = rsd(*asked)
    assert nothing.code == 2
    assert "holds no question with an answer" in nothing.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--by", "magic"], "--by magic: use one of rollouts, bisect, outcome, checker, reward"),
        (["--by", "checker"], "--by checker needs --reward"),
        (["--method", "rsd"], "--method: rsd prm label takes --by"),
        (["--temperature", "0.5"], "--temperature: rsd prm label takes --temperatures"),
        (["--boundary", "tokens:16"], "steps of so many tokens cannot be cut from a text"),
        (["--writers", "reward"], "--writers 'reward': must be draft or target"),
        (["--temperatures", "hot"], "--temperatures 'hot': must be numbers"),
        (["--held-out", "1"], "--held-out 1 must be a share"),
        (["--minutes", "nan"], "'--minutes': Input should be greater than or equal to 0"),
        (["--data", "missing.jsonl"], "there is no such file"),
    ],
)
def test_bad_options_are_told_with_the_remedy(
    rsd: Rsd, asked: list[str], options: list[str], message: str
) -> None:
    result = rsd(*asked, *options)
    assert result.code == 2
    assert message in result.err
    assert "Traceback" not in result.err


def test_nothing_is_lost_or_doubled_by_kills(asked: list[str], tmp_path: Path) -> None:
    """Killed at ten random moments, the labels are those of a run that was left alone."""
    (tmp_path / "checking.py").write_text(CHECKER.format(pause=0.02))
    options = [*asked, *CHECKED, "--concurrency", "2", "--keep-easy"]
    whole = run(*options, "--out", "whole", cwd=tmp_path)
    assert whole.code == 0, whole.err
    store = tmp_path / "out/store/cells"
    draw = random.Random(3)
    for kill in range(10):
        process = spawn(*options, cwd=tmp_path)
        wanted = 3 * kill + draw.randint(1, 4)
        _wait_for_lines(store, wanted, process)
        time.sleep(draw.random() * 0.02)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert _lines(store) >= 20
    last = run(*options, cwd=tmp_path)
    assert last.code == 0, last.err
    assert "of them before" in last.err
    assert rows(tmp_path / "out") == rows(tmp_path / "whole")
    kept = [json.loads(line) for path in store.glob("*.jsonl") for line in path.open()]
    assert len({(r["id"], r["sample"]) for r in kept}) == len(kept) == 48


def test_labelling_ends_in_time_and_writes_what_is_there(asked: list[str], tmp_path: Path) -> None:
    (tmp_path / "checking.py").write_text(CHECKER.format(pause=0.8))
    options = [*asked, *CHECKED, "--concurrency", "1", "--keep-easy"]
    ended = run(*options, "--minutes", "0.05", "--json", cwd=tmp_path)
    assert ended.code == 0, ended.err
    assert "--minutes 0.05 are over; the same command goes on" in ended.err
    first, store = rows(tmp_path / "out"), tmp_path / "out/store/cells"
    assert len(first) < 12
    process = spawn(*options, cwd=tmp_path)
    _wait_for_lines(store, _lines(store) + 1, process)
    process.send_signal(signal.SIGTERM)
    assert "with --minutes 0 it writes" in process.communicate()[1].decode()
    assert rows(tmp_path / "out") == first
    written = run(*options, "--minutes", "0", "--json", cwd=tmp_path)
    assert written.code == 0, written.err
    assert first.items() < rows(tmp_path / "out").items()
    assert run(*options, "--out", "nothing", "--minutes", "0", cwd=tmp_path).code == 0
    assert rows(tmp_path / "nothing") == {}


def test_shards_share_a_folder(rsd: Rsd, asked: list[str], tmp_path: Path) -> None:
    options = [*asked, *CHECKED, "--keep-easy"]
    assert rsd(*options, "--out", "whole").code == 0
    assert rsd(*options, "--shard", "1/2").code == 0
    assert len(rows(tmp_path / "out")) < len(rows(tmp_path / "whole"))
    assert rsd(*options, "--shard", "2/2").code == 0
    assert rows(tmp_path / "out") == rows(tmp_path / "whole")


def test_the_embedded_family_agrees_with_the_exact_checker(rsd: Rsd, tmp_path: Path) -> None:
    result = rsd("prm", "label", "--limit", 10, "--by", "bisect", "--samples", 1, "--continued", 0,
                 "--max-tokens", 300, "--out", "out", "--keep-easy")  # fmt: skip
    assert result.code == 0, result.err
    agreed = steps = 0
    solutions = [
        s for name in ("train", "validation")
        for s in read_labels(tmp_path / f"out/{name}.jsonl").solutions
    ]  # fmt: skip
    for solution in solutions:
        _, level, index = solution.problem.split("-")
        wrong = first_error(generate("train", int(level), int(index)), solution.texts)
        end = len(solution.steps) if wrong is None else wrong
        agreed += sum(step.right == (at < end) for at, step in enumerate(solution.steps))
        steps += len(solution.steps)
    assert steps > 20
    assert agreed / steps >= 0.9  # a few steps: the measured share is in docs/guide


def test_another_reward_labels_steps_and_tokens(rsd: Rsd, tmp_path: Path) -> None:
    calibration = {"reward": "likelihood:target:min", "readings": [0.0, 0.011, 1.0],
                   "probabilities": [0.0, 0.5, 1.0]}  # fmt: skip
    (tmp_path / "own.json").write_text(json.dumps(calibration))
    reward = {"spec": "likelihood:target:min", "calibration": "own.json"}
    (tmp_path / "own.yaml").write_text(json.dumps({"reward": reward}))
    options = ["prm", "label", "--by", "reward", "--limit", 10, "--samples", 2, "--continued", 0,
               "--max-tokens", 300, "--keep-easy", "--held-out", "0.3"]  # fmt: skip
    result = rsd(*options, "--config", "own.yaml", "--out", "out")
    assert result.code == 0, result.err
    assert "tok/s read by the reward" in result.err
    agreed = tokens = 0
    for row in rows(tmp_path / "out").values():
        assert row["origin"]["by"] == "reward"
        assert row["origin"]["reward"] == "likelihood:target:min"
        assert row["origin"]["calibration"] == "own.json"
        for text, soft, right, own in zip(
            row["completions"], row["soft_labels"], row["labels"], row["token_labels"], strict=True
        ):
            assert own[-1][0] == len(text)
            assert min(value for _, value in own) == pytest.approx(soft, abs=1e-4)
            assert soft >= 0.5 or not right
            tokens += len(own)
        _, level, index = row["problem"].split("-")
        exact = first_error(generate("train", int(level), int(index)), row["completions"])
        found = row["labels"].index(False) if False in row["labels"] else None
        agreed += exact == found
    assert tokens > 100
    assert agreed / len(rows(tmp_path / "out")) > 0.8


def test_a_reward_that_is_no_probability_is_named(rsd: Rsd, asked: list[str]) -> None:
    result = rsd(*asked, "--by", "reward", "--reward", "python:checking:score", "--keep-easy")
    assert result.code == 0, result.err
    assert "python:checking:score is not calibrated" in result.err
    missing = rsd(*asked, "--by", "reward")
    assert missing.code == 2
    assert "--by reward needs --reward: a gate such as likelihood:target:min" in missing.err


def _lines(folder: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in folder.glob("*.jsonl"))


def _wait_for_lines(folder: Path, count: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while _lines(folder) < count and process.poll() is None:
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.002)


def test_solutions_that_surprised_the_reward_model_are_labelled(
    rsd: Rsd, models: list[str], tmp_path: Path
) -> None:
    (tmp_path / "checking.py").write_text(CHECKER.format(pause=0))
    wrong = {"question": "Two and two, wrongly?", "answer": "5", "id": "wrong"}
    right = {"question": "What is the sum of two and two?", "answer": "4", "id": "right"}
    write_lines(tmp_path / "q.jsonl", right, wrong)
    evaluated = rsd("eval", "--data", "q.jsonl", "--methods", "rsd,draft", "--out", "ev", *models)
    assert evaluated.code == 0, evaluated.err
    command = ["prm", "label", "--select", "uncertain", "--from", "ev", "--out", "more", *CHECKED,
               "--held-out", "0", "--keep-easy"]  # fmt: skip
    one = rsd(*command, *models[:4], "--count", "1")
    assert one.code == 0, one.err
    assert "labelling 1 of 4 solutions" in one.err
    [row] = read_lines(tmp_path / "more/train.jsonl")
    assert row["id"] == "wrong/0"
    assert row["labels"] == [True, False, False]
    assert row["answer_right"] is False
    assert row["given"] == 0
    again = rsd(*command, *models[:4], "--count", "1")
    assert "1 of them before" in again.err
    everything = rsd(*command, *models[:4], "--out", "all")
    assert everything.code == 0
    assert {tuple(row["completions"]) for row in read_lines(tmp_path / "all/train.jsonl")} == {
        ("2 + 2 = 4.", "It is 4.", "The answer is \\boxed{4}."), ("2 + 2 = 4.", "So it is 5."),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--select", "uncertain"], "--select uncertain needs --from"),
        (["--select", "all", "--from", "ev"], "--select all: must be uncertain"),
        (["--from", "ev"], "--from is for --select uncertain"),
        (["--select", "uncertain", "--from", "nowhere"], "holds no results of rsd eval"),
    ],
)
def test_a_selection_needs_an_evaluation(rsd: Rsd, options: list[str], message: str) -> None:
    result = rsd("prm", "label", *options)
    assert result.code == 2
    assert message in result.err
