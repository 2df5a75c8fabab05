"""Clients as their users run them, in an environment of their own (see `install.py`)."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from rsdecode.models.abacus import problems
from tests.server.conftest import FAMILY_QUESTION, Process, launcher

CLIENTS = os.environ.get("RSD_TEST_CLIENTS")
OPTIONS = os.environ.get("RSD_TEST_SERVE", "").split()
"""More options of `rsd serve`, such as "--ray local --port 8799"."""
HERE = Path(__file__).parent
ENDS = "\\boxed{72}."
pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not CLIENTS, reason="make test-clients installs the clients"),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Process]:
    started: list[Process] = []
    yield launcher(tmp_path_factory.mktemp("server"), started)("--max-tokens", 256, *OPTIONS)
    for process in started:
        process.process.terminate()  # a local Ray ends with it
        process.process.wait(60)


@pytest.fixture(scope="module")
def repeating(tmp_path_factory: pytest.TempPathFactory) -> Generator[Process]:
    started: list[Process] = []
    launch = launcher(tmp_path_factory.mktemp("server"), started)
    yield launch("--max-tokens", 64, "--ignore-seed", *OPTIONS)
    for process in started:
        process.process.terminate()  # a local Ray ends with it
        process.process.wait(60)


def run(script: str, *arguments: str) -> dict[str, Any]:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    python = Path(str(CLIENTS)) / "bin" / "python"
    done = subprocess.run(
        [python, HERE / script, *arguments],
        env=environment | {"HF_HUB_OFFLINE": "1", "LITELLM_LOCAL_MODEL_COST_MAP": "True"},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def family_problems(count: int) -> str:
    return json.dumps(
        [
            {"question": p.question, "answer": str(p.answer), "wrong": f"{p.answer}7"}
            for p in problems("test", levels=[1], limit=count)
        ]
    )


def test_langchain(server: Process) -> None:
    told = run("ask_langchain.py", server.base_url, FAMILY_QUESTION)
    assert told["whole"].endswith(ENDS)
    assert told["streamed"] == told["whole"]
    assert told["batch"] == [told["whole"]] * 2
    assert told["finish_reason"] == "stop"
    assert told["output_tokens"] > 10


def test_litellm(server: Process) -> None:
    told = run("ask_litellm.py", server.base_url, FAMILY_QUESTION)
    assert told["whole"].endswith(ENDS)
    assert told["streamed"] == told["whole"]
    assert told["finish_reason"] == "stop"
    assert told["output_tokens"] > 10


def test_inspect_ai_evaluates_20_samples(server: Process) -> None:
    told = run("ask_inspect.py", server.base_url, family_problems(20))
    assert (told["status"], told["samples"]) == ("success", 20)
    assert told["accuracy"] > 0.6
    assert told["output_tokens"] > 200


@pytest.mark.parametrize("kind", ["chat", "completions"])
def test_lm_eval_generates(server: Process, kind: str) -> None:
    told = run("ask_lm_eval.py", server.base_url, kind, "1", family_problems(6))
    texts = [responses[0][0] for responses in told["responses"]]
    assert len(texts) == 6
    assert sum("\\boxed{" in text for text in texts) >= 5


def test_lm_eval_measures_likelihoods(server: Process) -> None:
    told = run("ask_lm_eval.py", server.base_url, "likelihood", "1", family_problems(6))
    assert told["results"]["acc,none"] >= 0.8


def test_repeats_of_lm_eval_differ_where_the_server_ignores_its_seed(repeating: Process) -> None:
    """Four answers to one question are the same by chance one time in five, those to all never."""
    told = run("ask_lm_eval.py", repeating.base_url, "chat", "4", family_problems(6))
    different: list[int] = []
    for responses in told["responses"]:
        texts = [response if isinstance(response, str) else response[0] for response in responses]
        flat = texts if len(texts) == 4 else list(responses[0])
        assert len(flat) == 4
        different.append(len(set(flat)))
    assert max(different) > 1


def test_schemathesis_finds_no_server_error(server: Process) -> None:
    """2,000 cases of our OpenAPI document, valid ones and others."""
    python = Path(str(CLIENTS)) / "bin" / "schemathesis"
    cases = os.environ.get("RSD_TEST_CASES", "170")  # of each of twelve operations
    done = subprocess.run(
        [
            *(python, "run", f"{server.address}/openapi.json", "--checks", "not_a_server_error"),
            *("--max-examples", cases, "--phases", "fuzzing", "--request-timeout", "60"),
            *("--generation-deterministic", "--workers", "4", "--no-color"),
        ],
        capture_output=True,
        text=True,
        timeout=3000,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
