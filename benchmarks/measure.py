"""Measures three real vLLM servers: what they take, and answers to replay.

Iterations are timed over plain HTTP, with requests of a known length (`ignore_eos`, a vLLM option);
the answers come from a run of RSD over the same servers.
"""

from __future__ import annotations

import asyncio
import datetime
import json
import re
import statistics
import sys
import time
from typing import Any

import httpx2 as httpx

from benchmarks.report import device_name
from benchmarks.servers import MAX_BATCH, Service, problems
from rsdecode.core.types import Problem, Role, Trajectory
from rsdecode.session.job import Job
from rsdecode.session.session import Session

SIZES = (1, 8, 32, 64, 128)
NEW_TOKENS = 64
LONG, SHORT = 768, 64
"""Tokens of two prompts, whose difference in time is that of reading."""
REPEATS = 7
ANSWERS = 128


def measure(service: Service, addresses: dict[Role, str]) -> dict[str, Any]:
    """The content of a measured file."""
    servers = {role.value: asyncio.run(_costs(role, spec)) for role, spec in addresses.items()}
    return {
        "date": datetime.date.today().isoformat(),
        "device": device_name(),
        "command": "python " + " ".join(["-m", "benchmarks.schedule", *sys.argv[1:]]),
        "servers": servers,
        "answers": _answers(service, addresses),
    }


def as_text(content: dict[str, Any]) -> str:
    """The file, with a line for each server and each answer."""
    head = {key: content[key] for key in ("date", "device", "command")}
    servers = ",\n  ".join(f'"{role}": {json.dumps(of)}' for role, of in content["servers"].items())
    answers = ",\n  ".join(map(json.dumps, content["answers"]))
    return (
        json.dumps(head, indent=1).removesuffix("\n}")
        + f',\n "servers": {{\n  {servers}\n }},\n "answers": [\n  {answers}\n ]\n}}'
    )


async def _costs(role: Role, spec: str) -> dict[str, Any]:
    """One server's costs; the medians of some repetitions."""
    url, _, name = spec.partition("#")
    async with httpx.AsyncClient(timeout=600, limits=httpx.Limits(max_connections=None)) as client:
        ask = _Asking(client, url, name, role)
        block = await ask.block_tokens()
        await ask.seconds(8, SHORT, 8)
        prefill = (await ask.seconds(1, LONG, 1) - await ask.seconds(1, SHORT, 1)) / (LONG - SHORT)
        if role is Role.REWARD:
            # What is not reading is HTTP and the like; it is counted as the server's own work.
            totals = [(n, await ask.seconds(n, SHORT, 1)) for n in SIZES]
            rest = [(n, max(seconds - n * SHORT * prefill, 0.0)) for n, seconds in totals]
            return _entry(rest, prefill, 0.0, block)
        decode = [(n, await ask.iteration(n)) for n in SIZES]
        fixed = await ask.seconds(1, SHORT, 1) - SHORT * prefill - decode[0][1]
        return _entry(decode, prefill, fixed, block)


def _entry(
    decode: list[tuple[int, float]], prefill: float, fixed: float, block_tokens: int
) -> dict[str, Any]:
    return {
        "decode_s": [[n, _rounded(seconds)] for n, seconds in decode],
        "prefill_s": _rounded(max(prefill, 0.0)),
        "request_s": _rounded(max(fixed, 0.0)),
        "max_batch": MAX_BATCH,
        "block_tokens": block_tokens,
    }


class _Asking:
    """Requests of known lengths, each with a prompt that no cache holds."""

    def __init__(self, client: httpx.AsyncClient, url: str, name: str, role: Role) -> None:
        self._client = client
        self._url, self._name, self._role = url, name, role
        self._asked = 0

    async def block_tokens(self) -> int:
        """Of the server's prefix cache."""
        metrics = await self._client.get(self._url.removesuffix("/v1") + "/metrics")
        [size] = re.findall(r'^vllm:cache_config_info{.*\bblock_size="(\d+)"', metrics.text, re.M)
        return int(size)

    async def iteration(self, requests: int) -> float:
        """Seconds of an iteration that writes one token of each."""
        short, long = 8, 8 + NEW_TOKENS
        return (
            await self.seconds(requests, SHORT, long) - await self.seconds(requests, SHORT, short)
        ) / NEW_TOKENS

    async def seconds(self, requests: int, prompt: int, new: int) -> float:
        """Until all of so many requests, sent at once, are answered; not the first time."""
        times: list[float] = []
        for _ in range(1 + REPEATS):
            started = time.perf_counter()
            await asyncio.gather(*(self._one(prompt, new) for _ in range(requests)))
            times.append(time.perf_counter() - started)
        return statistics.median(times[1:])

    async def _one(self, prompt: int, new: int) -> None:
        self._asked += 1
        head = [100 + self._asked // 10**i % 10 for i in range(6)]
        ids = head + [120 + i % 50 for i in range(prompt - len(head))]
        body: dict[str, Any] = {"model": self._name}
        if self._role is Role.REWARD:
            body |= {"input": ids, "task": "token_classify"}
            url = self._url.removesuffix("/v1") + "/pooling"
        else:
            body |= {"prompt": ids, "max_tokens": new, "ignore_eos": True, "temperature": 0}
            url = self._url + "/completions"
        reply = await self._client.post(url, json=body)
        reply.raise_for_status()


def _answers(service: Service, addresses: dict[Role, str]) -> list[dict[str, Any]]:
    """Lengths of a real run, in the order of the problems."""
    models = service.models(addresses)
    jobs = [Job(problem, service.method) for problem in problems(ANSWERS)]

    async def run() -> list[Trajectory]:
        return [t async for t in Session(models, concurrency=64).run(jobs)]

    ended = {trajectory.problem.id: trajectory for trajectory in asyncio.run(run())}
    models.close()
    prompts = _prompt_lengths(service.folders[Role.DRAFT], [job.problem for job in jobs])
    return [
        {"prompt": length, "steps": _steps(ended[job.problem.id])}
        for length, job in zip(prompts, jobs, strict=True)
    ]


def _prompt_lengths(folder: str, problems: list[Problem]) -> list[int]:
    import transformers

    auto: Any = transformers.AutoTokenizer
    tokenizer: Any = auto.from_pretrained(folder)
    turns = [[{"role": m.role, "content": m.content} for m in p.messages] for p in problems]
    return [
        len(tokenizer.apply_chat_template(t, add_generation_prompt=True, return_dict=False))
        for t in turns
    ]


def _steps(trajectory: Trajectory) -> list[list[Any]]:
    """(draft tokens, how the draft ended, target tokens, how the target ended) of each step."""
    assert trajectory.error is None, trajectory.error
    rows: list[list[Any]] = []
    for step in trajectory.steps:
        if step.accepted:
            rows.append([max(step.token_count, 1), step.finish_reason.value, 0, "stop"])
        else:
            [draft] = step.rejected
            tokens = max(draft.token_count, 1), max(step.token_count, 1)
            rows.append([tokens[0], draft.finish_reason.value, tokens[1], step.finish_reason.value])
    rows[-1][3 if rows[-1][2] else 1] = (
        "eos"  # an answer cut by a limit is replayed as one that ends
    )
    return rows


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")
