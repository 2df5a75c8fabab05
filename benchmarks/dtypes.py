"""What a token costs on a processor by the type of the weights: float32, bfloat16, int8.

    python -m benchmarks.dtypes [--rows 1,8,32,256] [--layers 4] [--json]

A network of random weights whose layers have the shape of Qwen2.5-1.5B, of which there are only a
few, with 8,192 words. Processor time of a forward pass of one thread that reads one new token in
each of so many rows, 100 tokens behind their beginning; medians, the types taken in turn.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from transformers import AutoModelForCausalLM, Qwen2Config

from benchmarks.report import show
from rsdecode.backends.transformers.cache import SlotCache
from rsdecode.backends.transformers.int8 import to_int8
from rsdecode.backends.transformers.network import CausalNetwork

CONTEXT, PASSES = 100, 12


def network(dtype: str, layers: int) -> Any:
    """A model with random weights."""
    torch.manual_seed(0)
    auto: Any = AutoModelForCausalLM
    config = Qwen2Config(
        vocab_size=8192, hidden_size=1536, intermediate_size=8960, num_hidden_layers=layers,
        num_attention_heads=12, num_key_value_heads=2, tie_word_embeddings=True,
    )  # fmt: skip
    model = auto.from_config(config, attn_implementation="sdpa").eval()
    if dtype == "float32":
        return model
    model = model.to(torch.bfloat16)
    if dtype == "int8":
        to_int8(model, "random weights")
    return model


def passes(model: Any, rows: int) -> Callable[[], float]:
    """Seconds of processor time of one pass."""
    net, cache, slots = CausalNetwork(model), SlotCache(rows, 2 * CONTEXT), list(range(rows))

    @torch.inference_mode()
    def run(tokens: list[list[int]], start: int) -> float:
        started = time.thread_time()
        batch = cache.batch(slots, tokens, [start] * rows, net.device)
        net.forward(batch.ids, batch, cache, last_only=True)
        return time.thread_time() - started

    run([[5]] * rows, CONTEXT)
    return lambda: run([[7]] * rows, CONTEXT)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", default="1,8,32,256")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    models = {name: network(name, options.layers) for name in ("float32", "bfloat16", "int8")}
    cases: list[dict[str, Any]] = []
    for rows in map(int, options.rows.split(",")):
        ready = {name: passes(model, rows) for name, model in models.items()}
        found: dict[str, list[float]] = {name: [] for name in ready}
        for _ in range(PASSES):
            for name, run in ready.items():
                found[name].append(run())
        cost = {name: 1000 * statistics.median(times) for name, times in found.items()}
        ratios = {f"int8_over_{name}": cost[name] / cost["int8"] for name in cost if name != "int8"}
        figures = {**{f"{name}_ms": ms for name, ms in cost.items()}, **ratios}
        cases.append({"name": f"rows-{rows}", **{k: round(v, 2) for k, v in figures.items()}})
    weights = {
        name: sum(p.numel() * p.element_size() for p in model.parameters()) / 2**20
        for name, model in models.items()
    }
    cases.append({"name": "weights", **{f"{n}_mib": round(mib) for n, mib in weights.items()}})
    show(cases, as_json=options.json)


if __name__ == "__main__":
    main()
