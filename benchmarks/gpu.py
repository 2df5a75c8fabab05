"""RSD on one GPU with random weights of real shapes, against the memory bandwidth that it has.

    PYTHONPATH=src python -m benchmarks.gpu [--out FILE] [--json]
    PYTHONPATH=src python -m benchmarks.gpu --shape tiny --device cpu
    PYTHONPATH=src python -m benchmarks.gpu --shape small --device cpu

Needs torch, transformers and safetensors and nothing else of ours: no pydantic, typer or rich. The
weights are those of Qwen2.5-Math 1.5B (draft), 7B (target) and a 1.5B reward model with a value
head, made on the device in bfloat16; their answers make no sense, and take as long as real ones.

bandwidth   bytes a second that the device copies, and that it reads; the higher is the floor's
write       tokens/s of the draft and of the target in the engine, alone and 32 at a time; the floor
            is that each pass reads all weights once, and the keys and values of its rows;
            on a CUDA device also with CUDA graphs, as rsd is
score       steps/s that the reward model reads, each behind what it has read; the same floor
rsd         answers/s of RSD at .75 acceptance, of the target alone in the same engine, and of
            `generate` of the target, one problem at a time; a step is 32 tokens, an answer 8 steps.
            `predicted` is the cost model: every token takes what it takes in a run of its model
            alone with as many problems at a time

What computes outside of the engine does so in a thread of its own: on a processor, a thread's
helpers slow down those of all others.

Acceptance is set: the reward is computed, and a draw with the seed of the step decides. Problems
have names for which it decides so in just three steps of four.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import PreTrainedTokenizerFast

from benchmarks.cost_model import Run, predicted
from benchmarks.random_models import (
    ACCEPTANCE,
    EOS,
    Shape,
    ask,
    load_models,
    prompt,
    random_model,
    reward_engine,
    tokenizer,
)
from benchmarks.report import device_name, show, versions
from rsdecode.backends.transformers.cuda_graphs import recorder_for
from rsdecode.backends.transformers.engine import Engine
from rsdecode.backends.transformers.footprint import footprint
from rsdecode.backends.transformers.jobs import Decode, Decoded
from rsdecode.backends.transformers.load import resolve_device
from rsdecode.backends.transformers.network import CausalNetwork
from rsdecode.backends.transformers.probe import output_distance
from rsdecode.backends.transformers.worker import run_in_temporary_thread
from rsdecode.core.errors import RsdError
from rsdecode.core.limits import Limits
from rsdecode.core.protocols import Models
from rsdecode.core.segment import Boundary
from rsdecode.core.types import Problem, Role, Trajectory
from rsdecode.core.weighting import Constant
from rsdecode.methods import RSD, Method, Single
from rsdecode.rewards.heads import probability
from rsdecode.rewards.reader import EngineReader, Marked, Rewards
from rsdecode.session.job import Job
from rsdecode.session.session import Session

_SMALL: dict[str, Any] = {
    "vocab_size": 151_936, "hidden_size": 1536, "intermediate_size": 8960,
    "num_hidden_layers": 28, "num_attention_heads": 12, "num_key_value_heads": 2,
}  # fmt: skip
_LARGE: dict[str, Any] = {
    "vocab_size": 152_064, "hidden_size": 3584, "intermediate_size": 18_944,
    "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4,
}  # fmt: skip
_TINY: dict[str, Any] = {
    "vocab_size": 300, "hidden_size": 32, "intermediate_size": 48,
    "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
}  # fmt: skip
_LITTLE: dict[str, Any] = {
    "vocab_size": 8192, "hidden_size": 256, "intermediate_size": 768,
    "num_hidden_layers": 6, "num_attention_heads": 4, "num_key_value_heads": 2,
}  # fmt: skip
_MIDDLE: dict[str, Any] = {
    "vocab_size": 8192, "hidden_size": 768, "intermediate_size": 2304,
    "num_hidden_layers": 16, "num_attention_heads": 12, "num_key_value_heads": 4,
}  # fmt: skip
SHAPES = {
    "qwen2.5-math": Shape(
        {
            Role.DRAFT: _SMALL | {"tie_word_embeddings": True},
            Role.TARGET: _LARGE | {"tie_word_embeddings": False},
            Role.REWARD: _SMALL,
        },
        torch.bfloat16, 151_643, 32, 8, 128, 4, 32, 4 << 30,
    ),
    "small": Shape(
        {
            Role.DRAFT: _LITTLE | {"tie_word_embeddings": True},
            Role.TARGET: _MIDDLE | {"tie_word_embeddings": True},
            Role.REWARD: _LITTLE,
        },
        torch.float32, 8000, 32, 8, 128, 4, 8, 1 << 28,
    ),
    "tiny": Shape(
        {
            Role.DRAFT: _TINY | {"tie_word_embeddings": True},
            Role.TARGET: _TINY | {"vocab_size": 310, "hidden_size": 64, "num_hidden_layers": 3},
            Role.REWARD: _TINY,
        },
        torch.float32, 290, 4, 4, 12, 2, 4, 1 << 22,
    ),
}  # fmt: skip


def main() -> None:
    """Run all cases and print them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shape", choices=SHAPES, default="qwen2.5-math")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1, cpu")
    parser.add_argument("--out", type=Path, help="a file that holds the cases so far at any time")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    try:
        device = resolve_device(options.device)
    except RsdError as error:
        parser.error(str(error))
    keeper = Keeper(options.shape, device, options.out)
    benchmark(SHAPES[options.shape], device, keeper)
    show(keeper.cases, as_json=options.json)


class Keeper:
    """Collects cases; each is told, and is in the file, as soon as it is there."""

    def __init__(self, shape: str, device: torch.device, out: Path | None) -> None:
        self._head = {"shape": shape, "device": _name(device), "versions": versions()}
        self._out = out
        self._started = time.perf_counter()
        self.cases: list[dict[str, Any]] = []

    def add(self, name: str, **figures: float) -> None:
        """Take a case, its figures to four digits."""
        now = datetime.datetime.now().isoformat(timespec="seconds")
        digits = {key: float(f"{figure:.4g}") for key, figure in figures.items()}
        self.cases.append({"name": name, **digits})
        after = time.perf_counter() - self._started
        print(f"{after:6.1f} s  {self.cases[-1]}", file=sys.stderr, flush=True)
        if self._out is not None:
            whole = {"date": now, **self._head, "seconds": round(after, 1), "cases": self.cases}
            new = self._out.with_name(self._out.name + ".new")
            new.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
            new.replace(self._out)


def benchmark(shape: Shape, device: torch.device, keeper: Keeper) -> None:
    """All cases."""
    speed = run_in_temporary_thread(lambda: bandwidth(device, shape.buffer))
    keeper.add("bandwidth", **{f"{kind}_gb_per_s": v / 1e9 for kind, v in speed.items()})
    floor = max(speed.values())
    words = tokenizer(shape.words)
    made = run_in_temporary_thread(
        lambda: {role: random_model(role, shape, device) for role in Role}
    )
    for role, model in made.items():
        # how far our cache and masks are from the model's own pass: rounding, if all is well
        distance = run_in_temporary_thread(partial(output_distance, model))
        keeper.add(f"{role}, outputs", distance=distance)
    ways = {"": False, ", CUDA graphs": True} if device.type == "cuda" else {"": False}
    for role in (Role.DRAFT, Role.TARGET):
        for rows in (1, shape.together):
            for way, graphs in ways.items():
                figures = writing(made[role], words, shape, rows, floor, cuda_graphs=graphs)
                keeper.add(f"{role} writes, {rows}{way}", **figures)
    for rows in (1, shape.together):
        keeper.add(f"reward reads, {rows}", **scoring(made[Role.REWARD], shape, rows, floor))
    plain = run_in_temporary_thread(lambda: generate(made[Role.TARGET], shape))
    keeper.add("generate", answers_per_s=plain.rate)
    for rows in (1, shape.together):
        for way, graphs in ways.items():
            figures = compare(made, words, shape, rows, plain, cuda_graphs=graphs)
            keeper.add(f"rsd, {rows}{way}", **figures)
    if device.type == "cuda":
        keeper.add("memory", peak_mib=torch.cuda.max_memory_allocated(device) >> 20)


def bandwidth(device: torch.device, size: int) -> dict[str, float]:
    """Bytes a second of a copy, which reads and writes, and of reading alone.

    Reading is a matrix times a vector, as a decode step does it.
    """
    source = torch.ones((size // 2 // 8192, 8192), dtype=torch.bfloat16, device=device)
    target, vector = torch.empty_like(source), source[0].clone()
    copied = _fastest(lambda: target.copy_(source), device)
    read = _fastest(lambda: source @ vector, device)
    held = source.numel() * source.element_size()
    return {"copy": 2 * held / copied, "read": held / read}


def writing(
    model: Any,
    words: PreTrainedTokenizerFast,
    shape: Shape,
    rows: int,
    floor: float,
    *,
    cuda_graphs: bool,
) -> dict[str, float]:
    """Tokens a second of `rows` answers at a time, and the share of the floor's."""
    context = shape.prompt + shape.answer
    network = CausalNetwork(model)
    recorder = recorder_for(model.device) if cuda_graphs else None
    engine = Engine(
        network, tokenizer=words, slots=rows, max_context=context + 1, recorder=recorder
    )
    jobs = [Decode(str(i), prompt(shape, i), shape.answer, seed=i) for i in range(rows)]
    begin = [Decode(job.session, job.ids, 1) for job in jobs]

    def seconds(asked: Sequence[Decode]) -> float:
        engine.clear()
        started = time.perf_counter()
        replies = asyncio.run(engine.decode(asked))
        for job, reply in zip(asked, replies, strict=True):
            assert isinstance(reply, Decoded), reply
            assert len(reply.ids) == job.max_tokens, reply
        return time.perf_counter() - started

    seconds(jobs)
    first = seconds(begin)
    took = seconds(jobs) - first
    engine.close()
    read = weight_bytes(model) + rows * footprint(network).token_bytes * (
        shape.prompt + shape.answer / 2
    )
    rate, bound = rows * (shape.answer - 1) / took, rows * floor / read
    return {
        "tokens_per_s": rate,
        "floor_tokens_per_s": bound,
        "of_floor": rate / bound,
        "ms_per_pass": 1000 * rows / rate,
        "ms_prompt": 1000 * first,
    }


def scoring(model: Any, shape: Shape, rows: int, floor: float) -> dict[str, float]:
    """Steps a second that the reward model reads behind the steps before them."""
    reader = EngineReader(engine := reward_engine(model, shape, rows), probability(None))

    def read(steps: int) -> float:
        length = shape.prompt + steps * shape.step
        jobs = [
            Marked(str(i), prompt(shape, i, length), (length - 1,), (length,)) for i in range(rows)
        ]
        started = time.perf_counter()
        for reply in asyncio.run(reader.read(jobs)):
            assert isinstance(reply, Rewards), reply
        return time.perf_counter() - started

    read(1)  # threads and memory are there from here on
    took = sum(read(steps) for steps in range(2, shape.steps + 1)) / (shape.steps - 1)
    engine.close()
    bound = floor / weight_bytes(model)
    return {
        "steps_per_s": rows / took,
        "ms_per_pass": 1000 * took,
        "floor_ms_per_pass": 1000 / bound,
    }


def compare(
    made: dict[Role, Any],
    words: PreTrainedTokenizerFast,
    shape: Shape,
    rows: int,
    plain: Plain,
    *,
    cuda_graphs: bool,
) -> dict[str, Any]:
    """RSD and the target alone in the engine beside what `generate` wrote, in answers a second."""
    models = load_models(made, words, shape, rows, cuda_graphs=cuda_graphs)
    problems = [ask(shape, i) for i in range(max(rows, shape.alone))]
    limits = Limits(shape.steps, 2 * shape.step, shape.answer)
    rsd = RSD(Constant(ACCEPTANCE), boundary=Boundary(tokens=shape.step), limits=limits)
    everything = replace(rsd, weighting=Constant(1.0))
    target = Single(Role.TARGET, limits=limits)
    try:
        for method in (rsd, target):
            solve(models, method, rows, problems[:rows])  # threads and memory
        ours, alone, draft, scored = (
            solve(models, method, rows, problems)
            for method in (rsd, target, Single(Role.DRAFT, limits=limits), everything)
        )
    finally:
        models.close()
    steps = [step for answer in ours.answers for step in answer.steps]
    faster, foretold = ours.rate / alone.rate, predicted(ours, alone, draft, scored)
    return {
        "accepted": sum(bool(step.accepted) for step in steps) / len(steps),
        "rsd_answers_per_s": ours.rate,
        "target_answers_per_s": alone.rate,
        "over_target": faster,
        "predicted": foretold,
        "of_predicted": faster / foretold,
        "over_generate": ours.rate / plain.rate,
        "target_over_generate": alone.rate / plain.rate,
        "same_tokens_as_generate": _same(alone.answers, plain.answers),
    }


def solve(models: Models, method: Method, rows: int, problems: Sequence[Problem]) -> Run:
    """The answers, `rows` problems at a time from empty caches."""
    models.clear()

    async def run() -> list[Trajectory]:
        session = Session(models, concurrency=rows)
        found = {t.problem.id: t async for t in session.run(Job(p, method) for p in problems)}
        return [found[problem.id] for problem in problems]

    started = time.perf_counter()
    answers = asyncio.run(run())
    seconds = time.perf_counter() - started
    for answer in answers:
        assert answer.error is None, answer.error
    return Run(answers, seconds)


class Plain(NamedTuple):
    """The tokens of the answers of `generate`, and how many of them came a second."""

    answers: list[list[int]]
    rate: float


@torch.inference_mode()
def generate(model: Any, shape: Shape) -> Plain:
    """Some problems one after the other by `generate` of transformers."""
    config = model.generation_config
    config.eos_token_id, config.pad_token_id = None, EOS

    def written(index: int, count: int) -> list[int]:
        ids = torch.tensor([prompt(shape, index)], device=model.device)
        mask = torch.ones_like(ids)
        new = model.generate(ids, attention_mask=mask, do_sample=False, max_new_tokens=count)
        return list(map(int, new[0, ids.shape[1] :].tolist()))

    written(0, 2)
    started = time.perf_counter()
    answers = [written(index, shape.answer) for index in range(shape.alone)]
    return Plain(answers, len(answers) / (time.perf_counter() - started))


def _same(answers: Sequence[Trajectory], plain: Sequence[list[int]]) -> float:
    """The share of tokens up to the first that differs.

    In short types they differ where two logits round to one, of which random weights have many.
    """
    right = 0
    for answer, tokens in zip(answers, plain, strict=False):
        ours = [int(word[1:]) for word in answer.text.split()]
        pairs = enumerate(zip(ours, tokens, strict=True))
        right += next((place for place, (a, b) in pairs if a != b), len(tokens))
    return right / sum(map(len, plain))


def weight_bytes(model: Any) -> int:
    """What a pass reads: all weights, but of an embedding that is no output layer only rows."""
    embedding, output = model.get_input_embeddings(), model.get_output_embeddings()
    read = [
        p for p in model.parameters()
        if p is not embedding.weight or (output is not None and output.weight is embedding.weight)
    ]  # fmt: skip
    return sum(p.numel() * p.element_size() for p in read)


def _fastest(run: Callable[[], object], device: torch.device, times: int = 10) -> float:
    """Seconds of the fastest of some runs."""

    def finished() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter()

    run()
    seconds: list[float] = []
    for _ in range(times):
        started = finished()
        run()
        seconds.append(finished() - started)
    return min(seconds)


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device_name()


if __name__ == "__main__":
    main()
