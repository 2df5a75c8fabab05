"""How cost grows with problems, with context and with steps.

    python -m benchmarks.scale [--case problems|steps|context|rows] [--json]

problems  scripted problems in flight, 100 to 10,000, each number in a process of its own: CPU time
          of a step and peak memory; models reply at once, so all of it is the session's
steps     the third and the thirtieth step of a problem: with models that reply at once; and with
          networks in the engine whose drafts are all rejected, so that draft, reward model and
          target work at each step. `attention` is how the bare passes of such a step grow,
          `beyond` is what the step grows more
context   milliseconds of a token behind 128 to 2,048 others, in the engine and as a bare pass
rows      tokens/s of 1 to 64 answers at a time

On a processor, in one thread. The networks have random weights, 4 layers of width 256.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import statistics
import time
from collections.abc import Callable
from itertools import pairwise
from multiprocessing import get_context
from typing import Any

import torch

from benchmarks import overhead
from benchmarks.random_models import Shape, ask, load_models, prompt, random_model, tokenizer
from benchmarks.report import show
from rsdecode.backends.transformers.cache import SlotCache
from rsdecode.backends.transformers.engine import Engine
from rsdecode.backends.transformers.jobs import Decode
from rsdecode.backends.transformers.network import CausalNetwork
from rsdecode.core.limits import Limits
from rsdecode.core.segment import Boundary
from rsdecode.core.types import Role
from rsdecode.core.weighting import Constant
from rsdecode.methods import RSD
from rsdecode.session.events import Decided
from rsdecode.session.session import Session

PROBLEMS = (100, 1000, 10_000)
CONTEXTS = (128, 512, 1024, 2048)
ROWS = (1, 8, 32, 64)
EARLY, LATE = 3, 30
ROUNDS = 5
NEW = 32
"""Tokens that are written behind a context."""
_SIZES: dict[str, Any] = {
    "vocab_size": 2000, "hidden_size": 256, "intermediate_size": 1024,
    "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2,
}  # fmt: skip
SHAPE = Shape(
    dict.fromkeys(Role, _SIZES), torch.float32, 2000, 16, 32, 64, alone=1, together=1, buffer=0
)


def main() -> None:
    """Run the cases and print them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--case", choices=CASES, help="this one alone")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # the engine leaves threads as they are then
    torch.set_num_threads(1)
    names = [options.case] if options.case else list(CASES)
    show([case for name in names for case in CASES[name]()], as_json=options.json)


def problems() -> list[dict[str, Any]]:
    """The session over the number of problems in flight; a peak of memory is a process's."""
    cases: list[dict[str, Any]] = []
    for count in PROBLEMS:
        with get_context("spawn").Pool(1) as process:
            cases.append(process.apply(in_flight, (count,)))
    return cases


def in_flight(count: int) -> dict[str, Any]:
    """Scripted problems, all at the same time."""
    before = _peak_mib()
    seconds, steps = overhead.run_once(count)
    return {
        "name": f"problems, {count}",
        "ms_per_step": round(1000 * seconds / steps, 4),
        "peak_mib": _peak_mib(),
        "before_mib": before,
    }


def steps() -> list[dict[str, Any]]:
    """A step over its place in the answer."""
    return [scripted_steps(), network_steps()]


def scripted_steps(count: int = 100) -> dict[str, Any]:
    """With models that reply at once; the median of some problems, one after the other."""
    taken = [overhead.step_seconds(LATE + 2) for _ in range(count)]
    early, late = (1e6 * statistics.median(row[at - 1] for row in taken) for at in (EARLY, LATE))
    return {
        "name": "steps, scripted",
        "early_us": round(early, 1),
        "late_us": round(late, 1),
        "ratio": round(late / early, 3),
    }


def network_steps(shape: Shape = SHAPE, rounds: int = ROUNDS) -> dict[str, Any]:
    """With networks in the engine; the fastest of some rounds, as other programs only add to it."""
    made = {role: random_model(role, shape, torch.device("cpu")) for role in Role}
    models = load_models(made, tokenizer(shape.words), shape, 1)
    network = CausalNetwork(made[Role.TARGET])
    cache = SlotCache(1, shape.prompt + shape.answer)
    limits = Limits(shape.steps, 2 * shape.step, shape.answer)
    method = RSD(Constant(0.0), boundary=Boundary(tokens=shape.step), limits=limits)

    async def solve() -> list[float]:
        models.clear()
        begun = time.perf_counter()
        async with Session(models) as session:
            handle = session.submit(ask(shape, 0), method)
            ends = [time.perf_counter() async for event in handle if isinstance(event, Decided)]
        return [end - begin for begin, end in pairwise([begun, *ends])]

    def bare(step: int) -> float:
        """The passes of a step: each writer's tokens, and three readings of what is new."""
        held = shape.prompt + (step - 1) * shape.step
        written = sum(_pass_s(network, cache, held + i, 1) for i in range(2 * shape.step))
        return written + 3 * _pass_s(network, cache, held, shape.step)

    try:
        runs = [(asyncio.run(solve()), bare(EARLY), bare(LATE)) for _ in range(rounds)]
    finally:
        models.close()
    early, late = (min(taken[at - 1] for taken, _, _ in runs) for at in (EARLY, LATE))
    bare_late = min(bare for _, _, bare in runs)
    attention = bare_late / min(bare for _, bare, _ in runs)
    return {
        "name": "steps, networks",
        "early_ms": round(1000 * early, 2),
        "late_ms": round(1000 * late, 2),
        "ratio": round(late / early, 3),
        "attention": round(attention, 3),
        "beyond": round(late / early / attention, 3),
        "over_bare": round(late / bare_late, 2),
    }


def context() -> list[dict[str, Any]]:
    """A token over what is before it."""
    model = random_model(Role.TARGET, SHAPE, torch.device("cpu"))
    network, words = CausalNetwork(model), tokenizer(SHAPE.words)
    cases: list[dict[str, Any]] = []
    for length in CONTEXTS:
        cache = SlotCache(1, length + NEW)
        ours = NEW / _rate(model, words, 1, length)
        bare = min(
            sum(_pass_s(network, cache, length + i, 1) for i in range(NEW)) for _ in range(ROUNDS)
        )
        cases.append(
            {
                "name": f"context, {length}",
                "ms_per_token": round(1000 * ours / NEW, 3),
                "bare_ms": round(1000 * bare / NEW, 3),
                "over_bare": round(ours / bare, 2),
            }
        )
    return cases


def rows() -> list[dict[str, Any]]:
    """Tokens a second over the answers that are written at a time."""
    model, words = random_model(Role.TARGET, SHAPE, torch.device("cpu")), tokenizer(SHAPE.words)
    return [
        {"name": f"rows, {count}", "tokens_per_s": round(_rate(model, words, count, 128), 1)}
        for count in ROWS
    ]


CASES: dict[str, Callable[[], list[dict[str, Any]]]] = {
    "problems": problems,
    "steps": steps,
    "context": context,
    "rows": rows,
}


def _rate(model: Any, words: Any, count: int, length: int) -> float:
    """Tokens a second behind prompts that are there already; the best of some rounds."""
    engine = Engine(
        CausalNetwork(model), tokenizer=words, slots=count, max_context=length + NEW + 1
    )

    def seconds(new: int) -> float:
        jobs = [Decode(str(i), prompt(SHAPE, i, length), new) for i in range(count)]
        started = time.perf_counter()
        asyncio.run(engine.decode(jobs))
        return time.perf_counter() - started

    seconds(1)
    rates = [count * (NEW - 1) / (seconds(NEW) - seconds(1)) for _ in range(ROUNDS)]
    engine.close()
    return max(rates)


@torch.inference_mode()
def _pass_s(network: CausalNetwork, cache: SlotCache, held: int, new: int) -> float:
    """Seconds of a forward pass over new tokens of one sequence, behind those that it holds."""
    batch = cache.batch([0], [[5] * new], [held], network.device)
    started = time.perf_counter()
    network.forward(batch.ids, batch, cache, last_only=True)
    return time.perf_counter() - started


def _peak_mib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


if __name__ == "__main__":
    main()
