"""`rsd serve --ray local`, asked by OpenAI's client, while replicas come and go."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2 as httpx
import openai
import pytest

pytestmark = pytest.mark.integration
RSD = [sys.executable, "-m", "rsdecode"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "RAY_AUTH_MODE": "disabled"}
CONFIG = {"ray": {"target": {"replicas": 1, "most": 2, "requests": 2}, "front": {"cpus": 0.5}}}
QUESTIONS = [
    f"Ben has {a} buttons. Ben gets {b} packs of 15 buttons. Ben loses {c} of them. "
    "How many buttons are there at the end?"
    for a, b, c in [(24, 3, 19), (31, 4, 27), (52, 2, 33), (18, 5, 46), (77, 3, 58), (45, 6, 39)]
]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """The address of a server; it must end by SIGTERM, with nothing left."""
    folder, port = tmp_path_factory.mktemp("serve"), free_port()
    (folder / "run.yaml").write_text(json.dumps(CONFIG))
    log = folder / "log"
    with log.open("w") as out:
        process = subprocess.Popen(
            [*RSD, "serve", "--ray", "local", "--port", str(port),
             "--config", str(folder / "run.yaml")],
            stderr=out, env=ENVIRONMENT,
        )  # fmt: skip
        try:
            wait(lambda: "rsd serve: http" in log.read_text() or process.poll() is not None, 400)
            assert process.poll() is None, log.read_text()
            yield f"http://127.0.0.1:{port}"
            process.send_signal(signal.SIGTERM)
            assert process.wait(120) == 0, log.read_text()
        finally:
            process.kill()
            process.wait()
    wait(lambda: not replicas(""), 30)


def wait(until: Callable[[], object], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.2)


def replicas(name: str) -> list[int]:
    """Processes of a deployment, by the name that Ray gives them."""
    found: list[int] = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                line = (folder / "cmdline").read_bytes()
            except OSError:
                continue
            if line.startswith(b"ray::ServeReplica:rsdecode:" + name.encode()):
                found.append(int(folder.name))
    return found


@pytest.fixture(scope="module")
def client(server: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server}/v1", api_key="none", max_retries=0, timeout=120)


def ask(client: openai.OpenAI, question: str, **more: Any) -> Any:
    message = {"role": "user", "content": question}
    settings: dict[str, Any] = {"model": "rsd", "seed": 0, **more}
    return client.chat.completions.create(messages=[message], **settings)  # type: ignore[list-item]


def text(client: openai.OpenAI, question: str, **more: Any) -> str:
    return ask(client, question, **more).choices[0].message.content


def streamed(client: openai.OpenAI, question: str, seen: Callable[[str], object] = len) -> str:
    parts: list[str] = []
    for chunk in ask(client, question, stream=True):
        if chunk.choices and chunk.choices[0].delta.content:
            parts.append(chunk.choices[0].delta.content)
            seen(parts[-1])
    return "".join(parts)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What `rsd solve` answers without Ray, by question."""
    found: dict[str, str] = {}
    for question in QUESTIONS:
        done = subprocess.run(
            [*RSD, "solve", question, "--json"],
            check=True, capture_output=True, text=True, timeout=120, env=ENVIRONMENT,
        )  # fmt: skip
        found[question] = json.loads(done.stdout)["text"]
    return found


def test_the_answers_are_those_of_rsd_solve(
    client: openai.OpenAI, expected: dict[str, str]
) -> None:
    for question in QUESTIONS[:3]:
        assert text(client, question) == expected[question]
        assert streamed(client, question) == expected[question]


def test_two_answers_other_methods_and_errors(client: openai.OpenAI) -> None:
    both = ask(client, QUESTIONS[0], n=2, temperature=0.8)
    assert [choice.index for choice in both.choices] == [0, 1]
    again = ask(client, QUESTIONS[0], n=2, temperature=0.8)
    assert [c.message.content for c in both.choices] == [c.message.content for c in again.choices]
    assert ask(client, QUESTIONS[0], model="rsd/target").choices[0].finish_reason == "stop"
    assert ask(client, QUESTIONS[0], model="rsd/speculative").choices[0].finish_reason == "stop"
    with pytest.raises(openai.NotFoundError):
        ask(client, QUESTIONS[0], model="gpt-9")
    with pytest.raises(openai.BadRequestError):
        ask(client, "x" * 500_000)


def test_replicas_that_are_killed_in_the_middle_are_invisible(
    client: openai.OpenAI, expected: dict[str, str]
) -> None:
    """A replica of each model is killed as soon as text of the first stream is there."""
    begun = threading.Event()
    killed: list[str] = []

    def kill() -> None:
        assert begun.wait(120)
        for name in ("draft", "target", "reward"):
            for process in replicas(name)[:1]:
                os.kill(process, signal.SIGKILL)
                killed.append(name)

    killer = threading.Thread(target=kill)
    killer.start()
    with ThreadPoolExecutor(6) as pool:
        streams = [
            pool.submit(streamed, client, question, lambda _: begun.set())
            for question in QUESTIONS * 3
        ]
        found = [stream.result() for stream in streams]
    killer.join()
    assert killed == ["draft", "target", "reward"]
    assert found == [expected[question] for question in QUESTIONS * 3]


def test_a_second_replica_comes_under_load_and_every_request_is_kept(
    client: openai.OpenAI,
) -> None:
    over = threading.Event()
    expected = {question: text(client, question, model="rsd/target") for question in QUESTIONS}

    def load(place: int) -> int:
        count = 0
        while not over.is_set():
            question = QUESTIONS[(place + count) % len(QUESTIONS)]
            assert text(client, question, model="rsd/target") == expected[question]
            count += 1
        return count

    with ThreadPoolExecutor(16) as pool:
        loads = [pool.submit(load, place) for place in range(16)]
        try:
            wait(lambda: len(replicas("target")) == 2 or any(f.done() for f in loads), 150)
            time.sleep(5)  # some requests for the new one
        finally:
            over.set()
        counts = [each.result() for each in loads]
    assert len(replicas("target")) == 2
    assert min(counts) >= 1


def test_work_ends_when_its_client_leaves(server: str) -> None:
    def running() -> float:
        metrics = httpx.get(f"{server}/metrics", timeout=30).text.splitlines()
        [line] = [line for line in metrics if line.startswith("vllm:num_requests_running")]
        return float(line.split()[-1])

    body = {
        "model": "rsd/process-best-of-32",
        "messages": [{"role": "user", "content": QUESTIONS[0]}],
        "temperature": 1.0,
    }
    with pytest.raises(httpx.TimeoutException):
        httpx.post(f"{server}/v1/chat/completions", json=body, timeout=0.1)
    wait(lambda: running() == 0, 20)
