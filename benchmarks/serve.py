"""Load on `rsd serve` of the embedded family: many streaming clients, some of which leave midway.

    python -m benchmarks.serve --clients 200 --seconds 60 --json

Each round asks the same problems; every whole answer is compared with what the server says when it
is asked alone. Prints requests, answers that differ (there must be none), times to the first byte
and to the first text, tokens a second, and the server's memory after each round.

Then the same problems by the server and by `rsd solve --input`, side by side: answers (equal),
seconds and CPU seconds without start-up, and their ratios (above 1 where the server is faster). And
a flood: thousands of requests at once, most of which are refused with 429; memory before and after.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from rsdecode.models.abacus import problems


@dataclass(slots=True)
class Round:
    """What one round of load came to."""

    whole: int = 0
    left: int = 0
    refused: int = 0
    broken: int = 0
    different: int = 0
    tokens: int = 0
    first_byte: list[float] = field(default_factory=list[float])
    first_text: list[float] = field(default_factory=list[float])

    def record(self, seconds: float, memory_mib: float) -> dict[str, Any]:
        """As JSON."""
        return {
            "whole": self.whole,
            "left": self.left,
            "refused": self.refused,
            "broken": self.broken,
            "different": self.different,
            "tokens_per_s": round(self.tokens / seconds, 1),
            "first_byte_s": _percentiles(self.first_byte),
            "first_text_s": _percentiles(self.first_text),
            "seconds": round(seconds, 1),
            "memory_mib": round(memory_mib, 1),
        }


def _percentiles(values: list[float]) -> dict[str, float]:
    ordered = sorted(values) or [0.0]
    at = {name: ordered[int(share * (len(ordered) - 1))] for name, share in _SHARES.items()}
    return {name: round(value, 4) for name, value in at.items()}


_SHARES = {"p50": 0.5, "p99": 0.99, "max": 1.0}


def body_of(number: int, questions: list[str]) -> dict[str, Any]:
    place = number % len(questions)
    message = {"role": "user", "content": questions[place]}
    return {"model": "rsd", "messages": [message], "seed": place, "temperature": 1.0}


async def ask(
    client: httpx2.AsyncClient, body: dict[str, Any], told: Round, leave_after: int | None
) -> str | None:
    """Stream an answer; None where it was not read to its end."""
    started, text, chunks, ended = time.perf_counter(), "", 0, False
    asked = {**body, "stream": True, "stream_options": {"include_usage": True}}
    async with client.stream("POST", "/v1/chat/completions", json=asked) as response:
        if response.status_code == 429:
            told.refused += 1
            return None
        async for line in response.aiter_lines():
            if chunks == 0:
                told.first_byte.append(time.perf_counter() - started)
            chunks += bool(line)
            if leave_after is not None and chunks >= leave_after:
                told.left += 1
                return None
            if line == "data: [DONE]":
                ended = True
            elif line.startswith("data: "):
                chunk = json.loads(line[6:])
                for choice in chunk.get("choices", ()):
                    new = choice["delta"].get("content") or ""
                    if new and not text:
                        told.first_text.append(time.perf_counter() - started)
                    text += new
                told.tokens += (chunk.get("usage") or {}).get("completion_tokens", 0)
    if not ended:
        told.broken += 1
        return None
    told.whole += 1
    return text


async def load(
    client: httpx2.AsyncClient, questions: list[str], alone: dict[int, str], options: Any
) -> Round:
    """One round: clients that ask again and again."""
    told, end = Round(), time.monotonic() + options.seconds
    numbers = iter(range(1_000_000_000))
    chance = random.Random(0)

    async def one() -> None:
        while time.monotonic() < end:
            number = next(numbers)
            leaves = chance.random() < options.leave
            text = await ask(
                client, body_of(number, questions), told, chance.randint(2, 6) if leaves else None
            )
            if text is not None and text != alone[number % len(questions)]:
                told.different += 1
            if text is None and not leaves:
                await asyncio.sleep(0.2)

    await asyncio.gather(*(one() for _ in range(options.clients)))
    return told


async def run(address: str, process: int, options: Any) -> list[dict[str, Any]]:
    questions = [p.question for p in problems("test", levels=[1, 2], limit=options.problems)]
    limits = httpx2.Limits(max_connections=None)
    rounds: list[dict[str, Any]] = []
    async with httpx2.AsyncClient(base_url=address, timeout=600, limits=limits) as client:
        alone = {
            number: await ask(client, body_of(number, questions), Round(), None) or ""
            for number in range(len(questions))
        }
        for _ in range(options.rounds):
            started = time.perf_counter()
            told = await load(client, questions, alone, options)
            seconds = time.perf_counter() - started
            rounds.append(told.record(seconds, memory_mib(process)))
            metrics = (await client.get("/metrics")).text
            running = re.search(r"^vllm:num_requests_running (\S+)", metrics, re.MULTILINE)
            rounds[-1]["running_after"] = float(running[1]) if running else None
            if not options.json:
                print(json.dumps(rounds[-1]), flush=True)
    return rounds


def memory_mib(process: int) -> float:
    """Resident memory of a process."""
    status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    found = re.search(r"VmRSS:\s+(\d+)", status)
    return int(found[1]) / 1024 if found else 0.0


def cpu_seconds(process: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def take(client: httpx2.AsyncClient, body: dict[str, Any]) -> bytes:
    """A stream as it comes; to be read later, as reading takes a core from the server."""
    asked = {**body, "stream": True}
    async with client.stream("POST", "/v1/chat/completions", json=asked) as response:
        return b"".join([piece async for piece in response.aiter_raw()])


def text_of(stream: bytes) -> str:
    """The content of a whole stream."""
    *events, last = [line[6:] for line in stream.decode().splitlines() if line[:6] == "data: "]
    assert last == "[DONE]", last
    choices = [choice for event in events for choice in json.loads(event)["choices"]]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


async def by_server(address: str, process: int, questions: list[str]) -> dict[str, Any]:
    """All questions at once, streamed; what the first takes alone is taken off, as by `solve`."""
    async with httpx2.AsyncClient(
        base_url=address, timeout=600, limits=httpx2.Limits(max_connections=None)
    ) as client:
        bodies = [
            {**body_of(i, questions), "seed": 0, "temperature": 0} for i in range(len(questions))
        ]
        took: list[tuple[float, float]] = []
        streams: list[bytes] = []
        for asked in (bodies[:1], bodies):
            started, spent = time.perf_counter(), cpu_seconds(process)
            streams = await asyncio.gather(*(take(client, body) for body in asked))
            took.append((time.perf_counter() - started, cpu_seconds(process) - spent))
        (start, start_cpu), (whole, whole_cpu) = took
        texts = [text_of(stream) for stream in streams]
        return {"texts": texts, "seconds": whole - start, "cpu_s": whole_cpu - start_cpu}


def by_solve(questions: list[str], options: Any) -> dict[str, Any]:
    """The same by `rsd solve --input`; a run of one question is taken off as the start-up."""
    runs: list[dict[str, Any]] = []
    for count in (1, len(questions)):
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, "questions.jsonl")
            lines = [json.dumps({"id": str(i), "question": q}) for i, q in enumerate(questions)]
            source.write_text("\n".join(lines[:count]), encoding="utf-8")
            command = [sys.executable, "-m", "rsdecode", "solve", "--input", str(source), "--json"]
            before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
            done = subprocess.run(
                [*command, *_limits(options)], capture_output=True, text=True, check=True
            )
            after, seconds = (
                resource.getrusage(resource.RUSAGE_CHILDREN),
                time.perf_counter() - started,
            )
        spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        records = sorted(map(json.loads, done.stdout.splitlines()), key=lambda r: int(r["id"]))
        texts = ["".join(step["text"] for step in record["steps"]) for record in records]
        runs.append({"texts": texts, "seconds": seconds, "cpu_s": spent})
    start, whole = runs
    return whole | {name: whole[name] - start[name] for name in ("seconds", "cpu_s")}


def side_by_side(address: str, process: int, options: Any) -> dict[str, Any]:
    """The server against `rsd solve --input`, in turn; the ratios are medians of the rounds'."""
    questions = [p.question for p in problems("test", limit=options.side)]
    rounds: list[dict[str, Any]] = []
    for _ in range(options.rounds or 1):
        served = asyncio.run(by_server(address, process, questions))
        solved = by_solve(questions, options)
        pairs = zip(served.pop("texts"), solved.pop("texts"), strict=True)
        rounds.append(
            {
                "different": sum(ours != theirs for ours, theirs in pairs),
                "server": {name: round(value, 2) for name, value in served.items()},
                "solve": {name: round(value, 2) for name, value in solved.items()},
                "throughput_ratio": round(solved["seconds"] / served["seconds"], 3),
                "cpu_ratio": round(solved["cpu_s"] / served["cpu_s"], 3),
            }
        )
    ratios = {
        name: statistics.median(told[name] for told in rounds)
        for name in ("throughput_ratio", "cpu_ratio")
    }
    different = sum(told["different"] for told in rounds)
    return {"problems": len(questions), "different": different, "rounds": rounds, **ratios}


async def flood(address: str, process: int, options: Any) -> dict[str, Any]:
    """So many requests at once, over 500 connections."""
    question = [problems("test", limit=1)[0].question]
    statuses: Counter[int] = Counter()
    waits = asyncio.Semaphore(500)
    before = memory_mib(process)
    async with httpx2.AsyncClient(
        base_url=address, timeout=600, limits=httpx2.Limits(max_connections=None)
    ) as client:

        async def one() -> None:
            async with waits:
                response = await client.post("/v1/chat/completions", json=body_of(0, question))
                statuses[response.status_code] += 1
                if response.status_code == 429:
                    assert response.headers["retry-after"] == "1"

        await asyncio.gather(*(one() for _ in range(options.flood)))
    return {
        "requests": options.flood,
        "statuses": dict(sorted(statuses.items())),
        "memory_mib": [round(before, 1), round(memory_mib(process), 1)],
    }


def _limits(options: Any) -> list[str]:
    count = str(options.concurrency)
    return ["--max-tokens", "256", "--concurrency", count, "--slots", count]


@contextmanager
def serving(options: Any) -> Generator[tuple[str, subprocess.Popen[str]]]:
    """A server in a process of its own, ended by SIGTERM."""
    command = [sys.executable, "-m", "rsdecode", "serve", "--port", "0", *_limits(options)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            lines = (line for line in process.stderr if line.startswith("rsd serve: "))
            address = next(lines).split()[2].removesuffix("/v1")
            threading.Thread(target=process.stderr.read, daemon=True).start()
            yield address, process
        finally:
            process.terminate()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=20.0, help="of a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--problems", type=int, default=16)
    parser.add_argument(
        "--leave", type=float, default=0.5, help="share of clients that leave midway"
    )
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--side", type=int, default=200, help="problems side by side; 0 for none")
    parser.add_argument("--flood", type=int, default=10_000, help="requests at once; 0 for none")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    told: dict[str, Any] = {}
    with serving(options) as (address, process):
        told["rounds"] = asyncio.run(run(address, process.pid, options)) if options.rounds else []
        if options.side:
            told["side_by_side"] = side_by_side(address, process.pid, options)
        if options.flood:
            told["flood"] = asyncio.run(flood(address, process.pid, options))
    told["exit_code"] = process.wait()
    print(json.dumps(told if options.json else {k: v for k, v in told.items() if k != "rounds"}))
    faults = sum(r["different"] + r["broken"] for r in told["rounds"])
    faults += told.get("side_by_side", {}).get("different", 0)
    unexpected = set(told.get("flood", {}).get("statuses", {})) - {200, 429}
    return 1 if faults or unexpected or told["exit_code"] else 0


if __name__ == "__main__":
    sys.exit(main())
