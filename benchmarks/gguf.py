"""GGUF files: ours, bare llama.cpp, and the file dequantised into the engine.

    python -m benchmarks.gguf FILE --questions gsm8k.jsonl [--streams 1 8] [--json]

Each contender is a process of its own, and they take turns: a ratio compares what ran a moment
apart. Bare llama.cpp gets the same slots, context and threads, by default waiting asleep as ours;
`--spin` leaves its threads to spin as they do by themselves. It renders and tokenises the questions
itself, so that equal tokens say that ours read the same.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import os
import platform
import statistics
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import Any

SYSTEM = "Please reason step by step, and put your final answer within \\boxed{}."
CONTENDERS = ("ours", "bare", "dequantised")
CONTEXT = 1024


class Worker:
    """A contender in a process of its own, asked by lines of JSON."""

    def __init__(self, kind: str, args: argparse.Namespace) -> None:
        threads, slots = str(args.threads), str(max(args.streams))
        command = [sys.executable, "-m", "benchmarks.gguf", "--worker", kind, args.file]
        asleep = {} if args.spin or kind == "ours" else {"GOMP_SPINCOUNT": "0"}
        started = time.perf_counter()
        self.process = subprocess.Popen(
            [*command, "--threads", threads, "--streams", slots],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **asleep},
        )
        self.load_s = float(self._line()["load_s"])
        self.ready_s = time.perf_counter() - started

    def ask(self, questions: list[str], tokens: int, *, fresh: bool = False) -> dict[str, Any]:
        """Answers to all questions at once: seconds, token ids, memory.

        Args:
            questions: what is asked.
            tokens: of an answer at most.
            fresh: whether nothing of the prompts may come from a cache.
        """
        assert self.process.stdin is not None
        asked = {"q": questions, "n": tokens, "fresh": fresh}
        print(json.dumps(asked), file=self.process.stdin, flush=True)
        return self._line()

    def close(self) -> None:
        """End it."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(60)

    def _line(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"a contender ended: {self.process.args}")
        return json.loads(line)


def work(kind: str, file: str, threads: int, slots: int) -> None:
    """A contender's process."""
    started = time.perf_counter()
    answer = bare(file, threads, slots) if kind == "bare" else ours(kind, file, threads, slots)
    say({"load_s": time.perf_counter() - started})
    for line in sys.stdin:
        asked = json.loads(line)
        started = time.perf_counter()
        ids = answer(asked["q"], asked["n"], asked["fresh"])
        seconds = time.perf_counter() - started
        say({"seconds": seconds, "ids": ids, "peak_mib": peak_mib(os.getpid())})
    os._exit(0)


def ours(kind: str, file: str, threads: int, slots: int) -> Any:
    from rsdecode.core.requests import Generate, Generated
    from rsdecode.core.types import Context, Message, Role

    model: Any
    if kind == "ours":
        from rsdecode.backends.llama_cpp import LlamaCppOptions, load_llama_cpp

        options = LlamaCppOptions(slots=slots, max_context=CONTEXT, threads=threads)
        model = load_llama_cpp(Path(file), options)
    else:
        from rsdecode.backends.transformers.load import LoadOptions
        from rsdecode.backends.transformers.model import load_model

        loading = LoadOptions(dtype="bfloat16", slots=slots, max_context=CONTEXT)
        model = load_model(str(Path(file).parent), loading, gguf_file=Path(file).name)
    runner = asyncio.Runner()

    def answer(questions: list[str], tokens: int, fresh: bool) -> list[list[int]]:
        if fresh:
            model.clear()
        asked = [
            Generate(
                Role.DRAFT,
                Context((Message("system", SYSTEM), Message("user", q))),
                tokens,
                session=q,
            )
            for q in questions
        ]
        replies = runner.run(model.generate(asked))
        for question in questions:
            model.end(question)
        found: list[list[int]] = []
        for reply in replies:
            assert isinstance(reply, Generated), reply
            assert reply.segment.tokens is not None
            found.append(list(reply.segment.tokens.ids))
        return found

    return answer


def bare(file: str, threads: int, slots: int) -> Any:
    xllamacpp: Any = importlib.import_module("xllamacpp")
    params = xllamacpp.CommonParams()
    params.model.path, params.port = file, 0
    params.n_parallel, params.n_ctx, params.kv_unified = slots, slots * CONTEXT, False
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    server = xllamacpp.Server(params)
    url = server.listening_address

    def post(route: str, body: dict[str, Any]) -> Any:
        data = json.dumps(body).encode()
        request = urllib.request.Request(
            f"{url}{route}", data, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request) as reply:
            return json.load(reply)

    def one(question: str, tokens: int, fresh: bool) -> list[int]:
        said = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": question}]
        prompt = post("/apply-template", {"messages": said})["prompt"]
        body = {"prompt": prompt, "n_predict": tokens, "temperature": 0.0, "return_tokens": True}
        body["cache_prompt"] = not fresh
        reply = post("/completion", body)
        return reply["tokens"][: -1 if reply["stop_type"] == "eos" else None]

    pool = ThreadPoolExecutor(slots)

    def answer(questions: list[str], tokens: int, fresh: bool) -> list[list[int]]:
        assert server is not None  # it ends with its last reference
        count = len(questions)
        return list(pool.map(one, questions, [tokens] * count, [fresh] * count))

    return answer


def say(record: dict[str, Any]) -> None:
    print(json.dumps(record), flush=True)


def peak_mib(pid: int) -> float:
    """Peak resident memory of a process and of all that it started, in MiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    own = next(int(x.split()[1]) for x in status.splitlines() if x.startswith("VmHWM"))
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    for thread in Path(f"/proc/{pid}/task").iterdir():
        children += (thread / "children").read_text().split()
    return own / 1024 + sum(peak_mib(int(child)) for child in set(children))


def measure(args: argparse.Namespace) -> dict[str, Any]:
    lines = Path(args.questions).read_text(encoding="utf-8").splitlines()
    questions = [str(json.loads(line)["question"]) for line in lines[: args.limit]]
    kinds = [kind for kind in CONTENDERS if kind in args.only]
    workers = {kind: Worker(kind, args) for kind in kinds}
    speeds: dict[str, dict[int, list[float]]] = {k: {s: [] for s in args.streams} for k in kinds}
    peaks = dict.fromkeys(kinds, 0.0)
    for round in range(args.rounds):
        for streams in args.streams:
            for kind in kinds if round % 2 == 0 else reversed(kinds):
                if kind == "dequantised" and streams > 1:
                    continue
                first = round * streams
                some: list[str] = [questions[(first + i) % len(questions)] for i in range(streams)]
                told = workers[kind].ask(some, args.tokens)
                speeds[kind][streams].append(sum(map(len, told["ids"])) / told["seconds"])
                peaks[kind] = max(peaks[kind], told["peak_mib"])
    equal = same_tokens(workers, questions, args) if {"ours", "bare"} <= workers.keys() else None
    found = {
        kind: {
            "load_s": round_(worker.load_s),
            "ready_s": round_(worker.ready_s),
            "peak_mib": round_(peaks[kind]),
            "tokens_per_s": {s: [round_(v) for v in values] for s, values in speeds[kind].items()},
        }
        for kind, worker in workers.items()
    }
    for worker in workers.values():
        worker.close()
    return {"contenders": found, "ratios": ratios(found, args.streams), "equal_tokens": equal}


def same_tokens(
    workers: dict[str, Worker], questions: list[str], args: argparse.Namespace
) -> dict[str, int]:
    """Over all questions, one at a time: how many answers have the same tokens."""
    same = 0
    for question in questions:
        texts = [
            workers[k].ask([question], args.tokens, fresh=True)["ids"] for k in ("ours", "bare")
        ]
        same += texts[0] == texts[1]
    return {"same": same, "of": len(questions), "tokens_at_most": args.tokens}


def ratios(found: dict[str, Any], streams: list[int]) -> dict[str, Any]:
    """Medians over rounds of ours against the other, a moment apart."""
    ours = found["ours"]
    told: dict[str, Any] = {}
    for other in found.keys() - {"ours"}:
        theirs = found[other]
        for count in streams:
            pairs = zip(ours["tokens_per_s"][count], theirs["tokens_per_s"][count], strict=False)
            values = [a / b for a, b in pairs]
            if values:
                told[f"speed, {count} streams, against {other}"] = round_(statistics.median(values))
        told[f"load, against {other}"] = round_(ours["load_s"] / theirs["load_s"])
        told[f"memory, against {other}"] = round_(ours["peak_mib"] / theirs["peak_mib"])
    return told


def round_(value: float) -> float:
    return float(f"{value:.4g}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file")
    parser.add_argument("--worker", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--questions", help="JSON lines with `question`")
    parser.add_argument("--limit", type=int, default=20, help="questions at most")
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--tokens", type=int, default=64, help="of an answer at most")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--only", nargs="+", choices=CONTENDERS, default=["ours", "bare"])
    parser.add_argument("--spin", action="store_true", help="let bare llama.cpp's threads spin")
    parser.add_argument("--json", action="store_true", help="the whole record on stdout")
    args = parser.parse_args()
    if args.worker:
        work(args.worker, args.file, args.threads, args.streams[0])
        return
    record: dict[str, Any] = {
        "file": Path(args.file).name,
        "date": time.strftime("%Y-%m-%d"),
        "device": f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores",
        "load_average": os.getloadavg()[0],
        "threads": args.threads,
        "versions": {"xllamacpp": metadata.version("xllamacpp")},
        **measure(args),
    }
    if args.json:
        print(json.dumps(record, indent=2))
        return
    for name, value in record["ratios"].items():
        print(f"{name:40} {value}")
    print(f"equal tokens: {record['equal_tokens']}")


if __name__ == "__main__":
    main()
