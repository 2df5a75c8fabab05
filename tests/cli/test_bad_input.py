"""Each wrong input is one clear line on stderr and an exit code; nothing is a traceback."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import Rsd, read_lines, run, write_lines


def refused(rsd: Rsd, *arguments: object, stdin: bytes = b"") -> str:
    result = rsd("solve", *arguments, stdin=stdin)
    assert result.code == 2, result
    assert result.out == ""
    assert result.err.startswith("error: ")
    assert result.err.count("\n") == 1
    assert "Traceback" not in result.err
    return result.err


@pytest.mark.parametrize("question", ["", "   ", "\n\t"])
def test_empty_question(rsd: Rsd, models: list[str], question: str) -> None:
    assert "the question is empty" in refused(rsd, question, *models)
    assert "the question is empty" in refused(rsd, "-", *models, stdin=question.encode())


def test_stdin_that_is_not_utf8(rsd: Rsd, models: list[str]) -> None:
    assert "not UTF-8 text (byte 3)" in refused(rsd, "-", *models, stdin=b"ab\xff")


def test_an_argument_that_is_not_utf8(tmp_path: Path, models: list[str]) -> None:
    question = b"caf\xe9".decode("utf-8", "surrogateescape")
    result = run("solve", question, *models, cwd=tmp_path)
    assert result.code == 2
    assert result.err.startswith("error: 'caf\\udce9' is not valid Unicode")


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["--threshold", "1.5"], ["--threshold 1.5", "[0, 1]"]),
        (["--threshold", "-0.1"], ["--threshold -0.1", "[0, 1]"]),
        (["--threshold", "nan"], ["--threshold nan", "[0, 1]"]),
        (["--budget", "2"], ["--budget 2.0", "[0, 1]"]),
        (["--alpha", "0", "--weighting", "logistic"], ["--alpha 0.0", "above 0"]),
        (["--max-steps", "-1"], ["--max-steps -1", "at least 1"]),
        (["--max-step-tokens", "0"], ["--max-step-tokens 0", "at least 1"]),
        (["--max-tokens", "-5"], ["--max-tokens -5", "at least 1"]),
        (["--candidates", "0"], ["--candidates 0", "at least 1"]),
        (["--lookahead", "2"], ["--lookahead 2", "0 or 1"]),
        (["--fallback", "guess"], ["--fallback 'guess'", "speculate"]),
        (["--fallback", "speculate", "--guess-tokens", "0"], ["--guess-tokens 0", "at least 1"]),
        (["--guess-tokens", "4"], ["guess_tokens", "fallback decode", "speculate"]),
        (["--samples", "0"], ["--samples 0", "at least 1"]),
        (["--concurrency", "0"], ["--concurrency 0", "at least 1"]),
        (["--slots", "-2"], ["--slots -2", "at least 1"]),
        (["--timeout", "0"], ["--timeout 0.0", "above 0"]),
        (["--temperature", "-1"], ["--temperature -1.0", ">= 0"]),
        (["--top-p", "0"], ["--top-p 0.0", "(0, 1]"]),
        (["--top-k", "-1"], ["--top-k -1", ">= 0"]),
        (["--method", "beam"], ["--method", "'beam' needs its number", "beam@4"]),
        (["--method", "tagret"], ["--method", "'tagret'", "target"]),
        (["--weighting", "linear"], ["--weighting 'linear'", "sigmoidal"]),
        (["--boundary", "words"], ["--boundary", "'words'", "tokens:K"]),
        (["--dtype", "int4"], ["--dtype 'int4'", "bfloat16"]),
        (["--device", "tpu9", "--draft", "hf:."], ["draft: "]),
        (["--reward-kind", "oracle"], ["--reward-kind", "'oracle'", "value-head"]),
        (["--draft", "gpt"], ["--draft", "unknown model spec 'gpt'", "hf:ID_OR_PATH"]),
        (["--target", "a/b"], ["--target", "did you mean hf:a/b?"]),
        (["--reward", "oracle"], ["--reward", "unknown model spec 'oracle'", "arithmetic"]),
        (
            ["--draft", "hf:./no/folder", "--reward", "abacus:prm"],
            ["draft", "hf:./no/folder", "no such folder"],
        ),
        (["--target", "gguf:no.gguf"], ["target", "gguf:no.gguf", "no such file"]),
        (["--draft", "scripted:no.json"], ["draft", "scripted:no.json", "no such file"]),
        (["--draft", "vllm:a/b"], ["error: draft: cannot read the config.json of 'a/b'"]),
        (["--target", "http://me:pw@h/v1#m"], ["target", "URL of h", "RSD_API_KEY"]),
        (["--reward", "python:no_such_module:f"], ["reward", "no_such_module"]),
        (["--weighting", "python:no_such_module:f"], ["weighting", "no_such_module"]),
        (["--config", "no.yaml"], ["--config no.yaml", "no such file"]),
        (["--weighting", "clipping", "--threshold", "0.5"], ["--threshold", "no effect"]),
        (["--budget", "0.2", "--weighting", "sigmoidal"], ["budget", "conflicts", "sigmoidal"]),
        (["--candidates", "2"], ["candidates 2", "--draft-temperature"]),
        (["--limit", "3"], ["--limit 3 needs --input FILE"]),
        (["--boundary", "separator:"], ["--boundary", "'separator:' names no text"]),
        (["--threads", "10000"], ["--threads", "10000", "cores of this machine", "or fewer"]),
        (["--overwrite"], ["--overwrite needs --output"]),
        (["--output", "x.jsonl"], ["--output x.jsonl", "needs --input"]),
        (["--input", "x.jsonl"], ["question", "--input x.jsonl", "not both"]),
    ],
)
def test_wrong_options(rsd: Rsd, models: list[str], options: list[str], parts: list[str]) -> None:
    message = refused(rsd, "q", *models, *options)
    assert all(part in message for part in parts), message


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("limits: [", ["run.yaml", "not valid YAML"]),
        ("treshold: 0.5", ["run.yaml", "unknown key 'treshold'"]),
        ("limits: {max_step: 3}", ["'limits.max_step'", "did you mean 'max_steps' or"]),
        ("limits: {max_tokens: -3}", ["limits.max_tokens -3", "at least 1"]),
    ],
)
def test_wrong_configuration(rsd: Rsd, tmp_path: Path, text: str, parts: list[str]) -> None:
    (tmp_path / "run.yaml").write_text(text)
    message = refused(rsd, "q", "--config", "run.yaml")
    assert all(part in message for part in parts), message


def test_a_folder_without_a_model(rsd: Rsd, models: list[str], tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    (tmp_path / "empty").mkdir()
    message = refused(rsd, "q", *models, "--draft", "hf:./empty")
    assert message.startswith("error: draft: ")


def test_input_and_output_files(rsd: Rsd, models: list[str], tmp_path: Path) -> None:
    source = write_lines(tmp_path / "in.jsonl", {"question": "a"})
    (tmp_path / "folder").mkdir()
    assert "no such file" in refused(rsd, *models, "--input", "no.jsonl", "--output", "o.jsonl")
    assert "cannot be read" in refused(rsd, *models, "--input", "folder", "--output", "o.jsonl")
    given = ("--input", source, *models)
    assert "place for the results" in refused(rsd, *given)
    assert "own file" in refused(rsd, *given, "--output", source)
    assert "is not a file" in refused(rsd, *given, "--output", "folder")
    assert "cannot be written" in refused(rsd, *given, "--output", "no/folder/o.jsonl")
    assert not (tmp_path / "no").exists()


def test_bad_lines_are_told_and_the_others_go_on(
    rsd: Rsd, models: list[str], tmp_path: Path
) -> None:
    source = write_lines(
        tmp_path / "in.jsonl",
        {"id": "a", "question": "one"},
        "{not json",
        {"question": "  "},
        b'{"question": "\xff"}',
        {"id": "a", "question": "two"},
        [1, 2],
        {"text": "no question"},
        {"question": 7},
        {"id": ["x"], "question": "q"},
        "",
        {"id": "z", "problem": "last"},
        '{"question": "half \\ud800 a pair"}',
    )
    result = rsd("solve", "--input", source, "--output", "out.jsonl", *models)
    assert result.code == 1
    told = {
        2: "not JSON",
        3: "the question is empty",
        4: "not UTF-8 text (byte 15",
        5: "the id 'a' was given before, in line 1",
        6: "not a JSON object",
        7: "no \"question\"",
        8: "must be a text",
        9: "the id ['x']",
        12: "not valid Unicode",
    }  # fmt: skip
    for number, reason in told.items():
        assert any(
            line.startswith(f"error: {source}, line {number}: ") and reason in line
            for line in result.err.splitlines()
        ), (number, result.err)
    assert result.err.count("error: ") == len(told)
    assert [record["id"] for record in read_lines(tmp_path / "out.jsonl")] == ["a", "z"]


@pytest.mark.parametrize("value", ["float('nan')", "float('inf')", "2.0", "-0.1", "None", "1/0"])
def test_wrong_rewards_end_their_problem_alone(
    rsd: Rsd, models: list[str], tmp_path: Path, value: str
) -> None:
    name = f"odd_reward_{abs(hash(value))}"
    body = f"def score(question, steps):\n    return {value} if question == 'bad' else 0.9\n"
    (tmp_path / f"{name}.py").write_text(body)
    source = write_lines(
        tmp_path / "in.jsonl", *({"question": text} for text in ("good", "bad", "fine"))
    )
    given = (*models[:4], "--reward", f"python:{name}:score")
    result = rsd("solve", "--input", source, "--output", "out.jsonl", *given)
    assert result.code == 1
    assert "error: problem '2': " in result.err
    assert "Traceback" not in result.err
    reasons = {r["id"]: r["stop_reason"] for r in read_lines(tmp_path / "out.jsonl")}
    assert reasons == {"1": "eos", "2": "error", "3": "eos"}


def test_a_nan_from_a_script_is_caught_too(rsd: Rsd, models: list[str], tmp_path: Path) -> None:
    script = json.loads((tmp_path / "draft.json").read_text())
    (tmp_path / "draft.json").write_text(json.dumps(script | {"score": {"*": [float("nan")]}}))
    result = rsd("solve", "q", *models)
    assert result.code == 1
    assert "nan" in result.err


def test_a_wrong_weighting_ends_its_problem_alone(
    rsd: Rsd, models: list[str], tmp_path: Path
) -> None:
    (tmp_path / "odd_weighting.py").write_text("def weigh(reward): return 7\n")
    result = rsd("solve", "q", *models, "--weighting", "python:odd_weighting:weigh")
    assert result.code == 1
    assert "gave 7.0 for reward 0.9" in result.err
