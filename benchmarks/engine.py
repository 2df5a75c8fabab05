"""The in-process engine against plain `generate` of transformers, in tokens per second.

    python -m benchmarks.engine [--model hf:PATH | gguf:FILE] [--dtype bfloat16] [--json]

equal-8    8 equal requests at once against `generate` at batch 8
ragged-32  32 requests of 16 to 256 new tokens through 8 slots, against `generate` in padded
           batches of 8, which runs every row to the length of the longest

End of sequence is switched off on both sides, so both do the same amount of work. `generate` runs
in a thread of its own, as the engine does: a thread's helpers slow down those of all others.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from benchmarks.report import alternate, show
from rsdecode.backends.transformers.engine import Engine
from rsdecode.backends.transformers.jobs import Decode
from rsdecode.backends.transformers.load import LoadOptions, load_pretrained
from rsdecode.backends.transformers.network import CausalNetwork
from rsdecode.backends.transformers.worker import run_in_temporary_thread
from rsdecode.core.requests import Failed
from rsdecode.text.pretrained import load_tokenizer

SLOTS = 8
PROMPT = (
    "A shop sells pencils in packs of 12 and pens in packs of 8. Mia buys 5 packs of pencils and "
    "3 packs of pens, and gives a third of all of them to her class. How many does she keep?"
)


def main() -> None:
    """Run both cases and print them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="abacus:target")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--new-tokens", type=int, default=128, help="of the equal requests")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--case", choices=["equal-8", "ragged-32"], help="this case alone")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()

    model, tokenizer = _load(options.model, options.dtype)
    prompts = _prompts(tokenizer, 32)
    lengths = _lengths(32)
    work = {
        "equal-8": ([prompts[0]] * SLOTS, [options.new_tokens] * SLOTS),
        "ragged-32": (prompts, lengths),
    }
    cases = [
        {"name": name, **_compare(model, tokenizer, *load, options.rounds)}
        for name, load in work.items()
        if options.case in (None, name)
    ]
    show([{"model": options.model, **case} for case in cases], as_json=options.json)


def _load(spec: str, dtype: str) -> tuple[Any, Any]:
    kind, _, where = spec.partition(":")
    options = LoadOptions(dtype=dtype)
    gguf_file = None
    if kind == "abacus":
        from rsdecode.models.abacus import model_path

        where = str(model_path(where))  # type: ignore[arg-type]
    elif kind == "gguf":
        gguf_file, where = Path(where).name, str(Path(where).parent)
    tokenizer = load_tokenizer(where, options.revision, gguf_file)
    return load_pretrained(AutoModelForCausalLM, where, options, gguf_file), tokenizer


def _prompts(tokenizer: Any, count: int) -> list[tuple[int, ...]]:
    """Prompts of different lengths, without a common prefix to reuse."""
    words = PROMPT.split()
    texts = [f"{i}. " + " ".join(words[: 20 + i % 15]) for i in range(count)]
    return [tuple(tokenizer.encode(text)) for text in texts]


def _lengths(count: int) -> list[int]:
    draw = random.Random(0)
    return [draw.randint(16, 256) for _ in range(count)]


def _compare(
    model: Any, tokenizer: Any, prompts: list[tuple[int, ...]], lengths: list[int], rounds: int
) -> dict[str, float]:
    """Rates of the engine and of `generate`, in wanted tokens per second."""
    total = sum(lengths)

    def ours() -> float:
        return total / _serve(model, tokenizer, prompts, lengths)

    def generate() -> None:
        for first in range(0, len(prompts), SLOTS):
            _generate(model, prompts[first : first + SLOTS], max(lengths[first : first + SLOTS]))

    def theirs() -> float:
        started = time.perf_counter()
        run_in_temporary_thread(generate)
        return total / (time.perf_counter() - started)

    _serve(model, tokenizer, prompts[:SLOTS], [4] * SLOTS)
    run_in_temporary_thread(lambda: _generate(model, prompts[:SLOTS], 4))
    return alternate(ours, theirs, rounds)


def _serve(model: Any, tokenizer: Any, prompts: list[tuple[int, ...]], lengths: list[int]) -> float:
    """Seconds that a fresh engine takes."""
    engine = Engine(CausalNetwork(model), tokenizer=tokenizer, slots=SLOTS, max_context=1024)
    jobs = [Decode(str(i), p, n) for i, (p, n) in enumerate(zip(prompts, lengths, strict=True))]
    started = time.perf_counter()
    replies = asyncio.run(engine.decode(jobs))
    seconds = time.perf_counter() - started
    engine.close()
    written = [len(reply.ids) for reply in replies if not isinstance(reply, Failed)]
    assert written == lengths, replies
    return seconds


@torch.inference_mode()
def _generate(model: Any, prompts: list[tuple[int, ...]], new_tokens: int) -> None:
    """One padded batch; rows of one length need no padding, and no mask."""
    width = max(map(len, prompts))
    ids = torch.tensor([[0] * (width - len(p)) + list(p) for p in prompts], device=model.device)
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
    config = model.generation_config
    config.eos_token_id, config.pad_token_id = None, 0
    model.generate(
        ids,
        attention_mask=mask.to(model.device),
        do_sample=False,
        max_new_tokens=new_tokens,
        min_new_tokens=None,
    )


if __name__ == "__main__":
    main()
