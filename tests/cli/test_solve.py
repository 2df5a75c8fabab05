from __future__ import annotations

import json
import os
import pty
import subprocess
from pathlib import Path

import pytest

from .conftest import Rsd, run, spawn

KEYS = [
    "alternatives", "answer", "config_hash", "error", "flops", "id", "sample", "seconds", "seed",
    "steps", "stop_reason", "text", "usage",
]  # fmt: skip
USAGE = [
    "accepted_tokens", "attended_tokens", "cached_tokens", "calls", "decoded_tokens",
    "prefill_tokens", "seconds", "speculative_calls", "speculative_tokens", "verified_tokens",
]  # fmt: skip


def test_plain_text_shows_who_wrote_what(rsd: Rsd, models: list[str]) -> None:
    result = rsd("solve", "What is 2 + 2?", *models)
    assert result.code == 0
    assert result.err == ""
    assert result.out.splitlines()[:6] == [
        "  draft 0.90    | 2 + 2 = 4.",
        "- draft 0.20    | So it is 5.",
        "  target        | It is 4.",
        "  draft 0.80    | The answer is \\boxed{4}.",
        "",
        "answer: 4",
    ]
    cost = result.out.splitlines()[6]
    assert "draft 14, target 3, reward" in cost
    assert "accepted 67% of 3 steps" in cost
    assert "FLOPs" not in cost  # the sizes of scripted models are not known
    assert "\x1b" not in result.out


def test_the_record_has_exactly_the_documented_keys(rsd: Rsd, models: list[str]) -> None:
    result = rsd("solve", "What is 2 + 2?", "--json", "--seed", 5, *models)
    assert result.code == 0
    [record] = result.records
    assert sorted(record) == KEYS
    assert (record["id"], record["sample"], record["seed"]) == ("0", 0, 5)
    assert (record["answer"], record["stop_reason"], record["error"]) == ("4", "eos", None)
    assert record["text"] == "2 + 2 = 4.\n\nIt is 4.\n\nThe answer is \\boxed{4}."
    assert [step["source"] for step in record["steps"]] == ["draft", "target", "draft"]
    assert record["steps"][1] == {
        "text": "It is 4.\n\n",
        "source": "target",
        "reward": 0.2,
        "weight": 0.0,
        "accepted": False,
        "finish_reason": "stop",
        "tokens": 3,
        "rejected": [
            {"text": "So it is 5.\n\n", "reward": 0.2, "finish_reason": "stop", "tokens": 4}
        ],
    }
    assert sorted(record["usage"]) == ["draft", "reward", "target"]
    assert all(sorted(usage) == USAGE for usage in record["usage"].values())
    assert record["usage"]["target"]["calls"] == 1
    assert record["flops"] == {"paper": None, "exact": None}


@pytest.mark.parametrize(
    ("options", "sources"),
    [
        (["--threshold", "0.1"], ["draft", "draft", "draft"]),
        (["--threshold", "0.85"], ["draft", "target", "target"]),
        (["--weighting", "constant", "--p", "0"], ["target", "target", "target"]),
        (["--method", "draft"], ["draft"] * 3),
        (["--method", "target"], ["target"] * 3),
        (["--max-steps", "2"], ["draft", "target"]),
        (["--max-step-tokens", "2", "--max-steps", "1"], ["target"]),
    ],
)
def test_options_reach_the_method(
    rsd: Rsd, models: list[str], options: list[str], sources: list[str]
) -> None:
    [record] = rsd("solve", "q", "--json", *options, *models).records
    assert [step["source"] for step in record["steps"]] == sources


def test_an_unfinished_answer_is_no_answer(rsd: Rsd, models: list[str]) -> None:
    result = rsd("solve", "q", "--json", "--max-steps", 2, *models)
    [record] = result.records
    assert (result.code, record["stop_reason"], record["answer"]) == (0, "max_steps", None)
    shown = rsd("solve", "q", "--max-steps", 2, *models)
    assert "no answer: max_steps: the answer reached the limit of steps" in shown.out


def test_a_configuration_file_is_overridden_by_options(
    rsd: Rsd, models: list[str], tmp_path: Path
) -> None:
    config = tmp_path / "run.yaml"
    config.write_text("weighting: {threshold: 0.1}\nrun: {seed: 9}\n")
    [from_file] = rsd("solve", "q", "--json", "--config", config, *models).records
    assert from_file["seed"] == 9
    assert [step["source"] for step in from_file["steps"]] == ["draft"] * 3
    changed = ("--threshold", "0.85")
    [record] = rsd("solve", "q", "--json", "--config", config, *changed, *models).records
    assert (record["seed"], record["steps"][1]["source"]) == (9, "target")


@pytest.mark.parametrize("arguments", [(), ("-",)])
def test_the_question_may_come_from_stdin(
    rsd: Rsd, models: list[str], tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    script = {"generate": {"Wie groß?": ["So \\boxed{7}."]}, "score": {"Wie groß?": [1.0]}}
    (tmp_path / "draft.json").write_text(json.dumps(script))
    result = rsd("solve", *arguments, "--json", *models, stdin="Wie groß?\n".encode())
    assert [record["answer"] for record in result.records] == ["7"]


def test_samples_are_shown_one_after_the_other(rsd: Rsd, models: list[str]) -> None:
    result = rsd("solve", "q", "--json", "--samples", 3, *models)
    assert sorted(record["sample"] for record in result.records) == [0, 1, 2]
    assert rsd("solve", "q", "--samples", 2, *models).out.count("answer: 4") == 2


def test_a_failed_request_is_told_and_counts(rsd: Rsd, models: list[str], tmp_path: Path) -> None:
    (tmp_path / "target.json").write_text(json.dumps({"generate": {"other": ["x"]}}))
    result = rsd("solve", "q", *models)
    assert result.code == 1
    assert result.out.startswith("  draft 0.90    | 2 + 2 = 4.\n\nno answer: error: ")
    assert result.err.startswith("error: scripted:")
    as_json = rsd("solve", "q", "--json", *models)
    [record] = as_json.records
    assert as_json.code == 1
    assert (record["stop_reason"], len(record["steps"])) == ("error", 1)
    assert 'no "generate" entry' in record["error"]


def test_a_passed_deadline_is_no_answer(rsd: Rsd, models: list[str], tmp_path: Path) -> None:
    (tmp_path / "patient_reward.py").write_text(
        "import asyncio\nasync def score(question, steps):\n    await asyncio.sleep(30)\n"
    )
    slow = ("--reward", "python:patient_reward:score", "--timeout", "0.2")
    result = rsd("solve", "q", "--json", *models, *slow)
    [record] = result.records
    assert (result.code, record["stop_reason"]) == (1, "cancelled")
    assert "0.2 s" in record["error"]


def test_the_familys_reward_beside_other_models_is_warned_about(
    rsd: Rsd, models: list[str]
) -> None:
    result = rsd("solve", "q", *models[:4], "--reward", "hf:./nowhere")
    assert "warning" not in result.err
    result = rsd("solve", "q", *models[:4])
    assert "warning: abacus:prm only knows" in result.err


def test_a_terminal_gets_colours_and_struck_out_drafts(tmp_path: Path, models: list[str]) -> None:
    parent, child = pty.openpty()
    process = spawn("solve", "q", *models, cwd=tmp_path, stdout=child, stderr=subprocess.PIPE)
    process.wait(timeout=60)
    os.close(child)
    shown = os.read(parent, 65536).decode()
    os.close(parent)
    assert process.returncode == 0
    assert "\x1b[32m2 + 2 = 4." in shown  # green: the draft
    assert "\x1b[2;9mSo it is 5." in shown  # dim and struck through: rejected
    assert "\x1b[35mIt is 4." in shown  # magenta: the target
    assert shown.index("So it is 5.") < shown.index("It is 4.")
    assert "answer: 4" in shown


def test_a_pipe_gets_no_escape_codes(tmp_path: Path, models: list[str]) -> None:
    result = run("solve", "q", *models, cwd=tmp_path)
    assert result.code == 0
    assert "answer: 4" in result.out
    assert "\x1b" not in result.out + result.err
