"""How fast solutions are sampled for labels, beside what the models could do at most.

    python -m benchmarks.labelling --json
    python -m benchmarks.labelling --gguf FILE --json

The first compares with the bare sampler of `recipes/abacus`, which decodes one fixed batch with one
cache: tokens per second of processor time, on the same problems. The second starts a llama.cpp
server and compares with requests that ask it for as many solutions at the same concurrency: tokens
per second. Both alternate the two, and tell the median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib
import resource
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.report import alternate, show
from rsdecode.config import load_config
from rsdecode.config.build import build_models
from rsdecode.core.limits import Limits
from rsdecode.core.protocols import Models
from rsdecode.core.requests import Sampling
from rsdecode.core.types import Problem, Role
from rsdecode.models.abacus import problems
from rsdecode.session.session import Session
from rsdecode.training.continuations import Continuations

TOKENS = 300
SERVE = Path("tests/integration/llama_cpp/serve.py")


async def sampled(models: Models, asked: Sequence[Problem], concurrency: int, tokens: int) -> int:
    """Sample one solution of each problem, as `rsd prm label` does; decoded tokens."""
    session = Session(models, concurrency=concurrency)
    method = Continuations(
        Role.DRAFT, limits=Limits(max_tokens=tokens), sampling=Sampling(temperature=1.0)
    )
    handles = [session.submit(problem, method, events="none") for problem in asked]
    found = [await handle.result() for handle in handles]
    await session.close()
    return sum(one.ledger.draft.decoded_tokens for one in found)


def user_s() -> float:
    """Seconds of processor time of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_utime


def in_process(count: int, rounds: int) -> dict[str, Any]:
    """Our engine beside the sampler of the recipe, on the embedded draft."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from recipes.abacus import sample
    from recipes.abacus.data import encode, prompt_text
    from rsdecode.models.abacus import model_path

    found = problems("test", limit=count)
    overrides = {"engine.slots": count, "engine.device": "cpu", "limits.max_tokens": TOKENS}
    models = build_models(load_config(overrides=overrides), [Continuations(Role.DRAFT)])
    asked = [Problem.ask(p.question, id=p.id) for p in found]
    auto: Any = AutoModelForCausalLM
    words: Any = AutoTokenizer
    writer = sample.Writer(
        auto.from_pretrained(model_path("draft")).eval(), words.from_pretrained(model_path("draft"))
    )
    texts = [prompt_text(p.question) for p in found]

    def ours() -> float:
        before = user_s()
        return asyncio.run(sampled(models, asked, count, TOKENS)) / (user_s() - before)

    def theirs() -> float:
        before, how = user_s(), sample.Sampling(1.0, max_tokens=TOKENS)
        written = sample.continue_texts(writer, texts, how, 0)
        return sum(len(encode(t, writer.tokenizer)) for t in written) / (user_s() - before)

    ours()
    theirs()
    compared = alternate(ours, theirs, rounds)
    models.close()
    return {"name": f"in process, {count} at once, tokens per second of processor time", **compared}


@contextlib.contextmanager
def serving(file: Path, slots: int) -> Generator[str]:
    """A llama.cpp server; its base URL."""
    command = [sys.executable, str(SERVE), str(file), str(slots), "1024"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield f"{process.stdout.readline().strip()}/v1"
        finally:
            process.stdin.close()


async def requested(url: str, asked: Sequence[Problem], concurrency: int, tokens: int) -> int:
    """As many completions by bare requests; decoded tokens."""
    httpx: Any = importlib.import_module("httpx2")
    free = asyncio.Semaphore(concurrency)

    async def one(client: Any, problem: Problem) -> int:
        body = {
            "messages": [{"role": "user", "content": problem.question}],
            "max_tokens": tokens,
            "temperature": 1.0,
        }
        async with free:
            reply = await client.post(f"{url}/chat/completions", json=body)
        return int(reply.json()["usage"]["completion_tokens"])

    async with httpx.AsyncClient(timeout=600) as client:
        return sum(await asyncio.gather(*(one(client, problem) for problem in asked)))


def served(file: Path, count: int, slots: int, tokens: int, rounds: int) -> dict[str, Any]:
    """Through our session beside bare requests, to one llama.cpp server."""
    asked = [Problem.ask(p.question, id=p.id) for p in problems("test", limit=count)]
    with serving(file, slots) as url:
        config = load_config(overrides={"draft": f"{url}#{file.stem}"})
        models = build_models(config, [Continuations(Role.DRAFT)])

        def speed(work: Callable[[], Awaitable[int]]) -> float:
            async def run() -> int:
                return await work()

            start = time.perf_counter()
            return asyncio.run(run()) / (time.perf_counter() - start)

        def ours() -> float:
            return speed(lambda: sampled(models, asked, slots, tokens))

        def theirs() -> float:
            return speed(lambda: requested(url, asked, slots, tokens))

        ours()
        theirs()
        compared = alternate(ours, theirs, rounds)
        models.close()
    return {"name": f"llama.cpp, {slots} at once, tokens per second", **compared}


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--problems", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--gguf", type=Path, help="file for a llama.cpp server")
    parser.add_argument("--slots", type=int, default=8, help="of that server")
    parser.add_argument("--tokens", type=int, default=64, help="of one of its answers")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.gguf is None:
        case = in_process(given.problems, given.rounds)
    else:
        case = served(given.gguf, given.problems, given.slots, given.tokens, given.rounds)
    show([case], as_json=given.json)


if __name__ == "__main__":
    main()
