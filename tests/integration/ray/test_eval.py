"""`rsd eval --ray` on real clusters: the same answers, whatever is lost on the way."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.integration
DATA = ("--data", "abacus:test", "--methods", "draft,rsd")
OPEN = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
"""Ray asks for a token as soon as there is one on the machine, as any local cluster leaves it."""
TIMES = ("seconds", "elapsed")


def rsd(out: Path, *options: object, limit: int = 60, env: dict[str, str] | None = None) -> str:
    command = [sys.executable, "-m", "rsdecode"]
    given = ["eval", *DATA, "--limit", str(limit), "--out", str(out), *map(str, options)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **(env or {})}
    done = subprocess.run(
        [*command, *given],
        check=False, capture_output=True, text=True, timeout=500, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stderr


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: without_times(v) for k, v in value.items() if k not in TIMES}
    return [without_times(part) for part in value] if isinstance(value, list) else value


def answers(out: Path) -> dict[tuple[str, str, int], Any]:
    """By file, problem and sample; a doubled line would be an error."""
    found: dict[tuple[str, str, int], Any] = {}
    for file in sorted(out.glob("cells/*.jsonl")):
        for line in file.read_text().splitlines():
            record = json.loads(line)
            if "id" not in record:
                continue
            key = file.name, record["id"], record["sample"]
            assert key not in found, f"{key} is there twice"
            record.pop("crc32", None)
            found[key] = without_times(comparable(record))
    return found


def comparable(record: dict[str, Any]) -> dict[str, Any]:
    """Without what depends on which problems shared a batch or a cache: how much was read anew."""
    usage = record["usage"]
    tokens = {role: spent["decoded_tokens"] for role, spent in usage.items()}
    kept = {k: v for k, v in record.items() if k not in ("usage", "flops", "crc", "checksum")}
    kept["steps"] = [{k: v for k, v in s.items() if k not in ("reward", "weight", "rejected")}
                     for s in record["steps"]]  # fmt: skip
    return {**kept, "tokens": tokens}


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[Any, Any]:
    out = tmp_path_factory.mktemp("here") / "out"
    rsd(out)
    return answers(out)


def test_the_same_line_for_line(tmp_path: Path, expected: dict[Any, Any]) -> None:
    told = rsd(tmp_path / "out", "--ray", "local")
    assert "workers on Ray:" in told
    assert answers(tmp_path / "out") == expected


def test_a_run_goes_on_on_a_cluster_and_back(tmp_path: Path, expected: dict[Any, Any]) -> None:
    rsd(tmp_path / "out", limit=20)
    told = rsd(tmp_path / "out", "--ray", "local", limit=40)
    assert "20 of them before" in told
    rsd(tmp_path / "out")
    assert answers(tmp_path / "out") == expected


def workers() -> list[int]:
    """Processes of our actors, by the name that Ray gives them."""
    found: list[int] = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                if (folder / "cmdline").read_bytes().startswith(b"ray::Worker"):
                    found.append(int(folder.name))
            except OSError:
                continue
    return found


def test_workers_that_are_killed_lose_and_double_nothing(
    tmp_path: Path, expected: dict[Any, Any]
) -> None:
    """Five kills at random moments, each as soon as there is somebody to kill."""
    killed: list[int] = []
    draw, over = random.Random(1), threading.Event()

    def kill() -> None:
        while len(killed) < 5 and not over.wait(draw.uniform(0.5, 3.0)):
            alive = [pid for pid in workers() if pid not in killed]
            if alive:
                victim = draw.choice(alive)
                os.kill(victim, signal.SIGKILL)
                killed.append(victim)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        told = rsd(tmp_path / "out", "--ray", "local", "--concurrency", "8")
    finally:
        over.set()
        killer.join()
    assert len(killed) >= 2, "the run was over before anybody was killed"
    assert told.count("a worker is lost") >= 1
    assert answers(tmp_path / "out") == expected
    assert workers() == []


@contextmanager
def node(*arguments: str) -> Generator[subprocess.Popen[bytes]]:
    """A node of its own, which ends with its command."""
    script = str(Path(sys.executable).with_name("ray"))
    process = subprocess.Popen(
        [script, "start", "--block", "--num-cpus=1", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **OPEN},
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


def nodes_at(address: str) -> int:
    """How many nodes the cluster has; 0 where nothing answers yet."""
    ask = f"import ray; ray.init({address!r}); print(sum(n['Alive'] for n in ray.nodes()))"
    environment = {**os.environ, **OPEN}
    done = subprocess.run(
        [sys.executable, "-c", ask],
        check=False, capture_output=True, text=True, timeout=120, env=environment,
    )  # fmt: skip
    return int(done.stdout.split()[-1]) if done.returncode == 0 else 0


def wait_for_nodes(address: str, count: int) -> None:
    deadline = time.monotonic() + 180
    while nodes_at(address) != count:
        assert time.monotonic() < deadline


def test_a_node_that_leaves_in_the_middle(tmp_path: Path, expected: dict[Any, Any]) -> None:
    """Two nodes on this machine, with a worker on each; one is taken away."""
    port = free_port()
    address = f"127.0.0.1:{port}"
    place = "--node-ip-address=127.0.0.1"
    head = node("--head", place, f"--port={port}", "--include-dashboard=false")
    with head, node(f"--address={address}", place) as second:
        wait_for_nodes(address, 2)

        def leave() -> None:
            files = tmp_path / "out" / "cells"
            deadline = time.monotonic() + 200
            while not any(f.stat().st_size > 5000 for f in files.glob("*.jsonl")):
                assert time.monotonic() < deadline
                time.sleep(0.1)
            second.terminate()

        leaving = threading.Thread(target=leave)
        leaving.start()
        told = rsd(tmp_path / "out", "--ray", address, "--concurrency", "4", env=OPEN)
        leaving.join()
        assert "workers on Ray: 2" in told
        assert second.wait(60) is not None
    assert answers(tmp_path / "out") == expected


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_an_address_where_nothing_is(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "rsdecode"]
    done = subprocess.run(
        [*command, "eval", *DATA, "--out", str(tmp_path), "--ray", "127.0.0.1:1"],
        check=False, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 2
    assert "--ray 127.0.0.1:1: no cluster answers there" in done.stderr


def test_a_file_of_questions_begun_here_is_finished_on_a_cluster(tmp_path: Path) -> None:
    """`rsd solve --input`: the same lines as without Ray, each once."""
    source = tmp_path / "questions.jsonl"
    from rsdecode.evals.datasets import load_dataset

    problems = load_dataset("abacus:test", 24)
    lines = [{"id": p.id, "question": p.question, "answer": p.answer} for p in problems]
    source.write_text("".join(json.dumps(line) + "\n" for line in lines))
    here, there = tmp_path / "here.jsonl", tmp_path / "there.jsonl"
    call("solve", "--input", source, "--output", here)
    call("solve", "--input", source, "--output", there, "--limit", 8)
    told = call("solve", "--input", source, "--output", there, "--ray", "local")
    assert "24 of 24 done, 8 of them before" in told
    assert by_key(here) == by_key(there)
    assert len(there.read_text().splitlines()) == 24


def test_labels_begun_here_are_finished_on_a_cluster(tmp_path: Path) -> None:
    """`rsd prm label`: the same solutions with the same labels."""
    options = ("prm", "label", "--by", "bisect", "--completions", "4", "--continued", "1")
    outs = [("--out", tmp_path / name) for name in ("here", "there")]
    call(*options, *outs[0], "--limit", "6")
    call(*options, *outs[1], "--limit", "2")
    call(*options, *outs[1], "--limit", "6", "--ray", "local")
    for name in ("train.jsonl", "validation.jsonl"):
        assert (tmp_path / "there" / name).read_text() == (tmp_path / "here" / name).read_text()
    assert (tmp_path / "here" / "train.jsonl").read_text()


def test_labelling_on_a_cluster_ends_in_time_and_goes_on(tmp_path: Path) -> None:
    options = ("prm", "label", "--by", "outcome", "--keep-easy", "--limit", "20000", "--ray",
               "local", "--out", tmp_path)  # fmt: skip
    kept: list[int] = []
    for minutes in ("0.4", "0.4"):
        assert f"--minutes {minutes} are over" in call(*options, "--minutes", minutes)
        kept.append(sum(len(f.read_text().splitlines()) for f in tmp_path.glob("*.jsonl")))
    assert 0 < kept[0] < kept[1]


def call(*arguments: object) -> str:
    command = [sys.executable, "-m", "rsdecode"]
    done = subprocess.run(
        [*command, *map(str, arguments)],
        check=False, capture_output=True, text=True, timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stderr


def by_key(file: Path) -> dict[tuple[str, int], Any]:
    records = [json.loads(line) for line in file.read_text().splitlines()]
    return {
        (record["id"], record["sample"]): without_times(
            {**comparable(record), "question": record["question"], "answer": record["answer"]}
        )
        for record in records
    }
