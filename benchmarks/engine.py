"""The in-process engine against plain `generate` of transformers, in tokens per second.

    python -m benchmarks.engine [--model hf:PATH | gguf:FILE] [--dtype bfloat16] [--json]

equal-1, equal-8, equal-32   equal requests, all at once, against `generate` in one batch, and
           against the floor: the model's own forward passes, with nothing but the likeliest token
           taken between them
ragged-32  32 requests of 16 to 256 new tokens through 8 slots, against `generate` in padded
           batches of 8, which runs every row to the length of the longest
prefix-8   8 problems of 6 short steps each, as RSD asks for them: what was read is not read again,
           while `generate` begins each step anew

End of sequence is switched off on both sides, so both do the same amount of work. `generate` and
the floor run in a thread of their own, as the engine does: a thread's helpers slow down those of
all others.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
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

Ids = tuple[int, ...]
PROMPT = (
    "A shop sells pencils in packs of 12 and pens in packs of 8. Mia buys 5 packs of pencils and "
    "3 packs of pens, and gives a third of all of them to her class. How many does she keep?"
)
BATCH, STEPS, STEP = 8, 6, 16
"""Of the ragged requests and of the steps; steps of a problem; tokens of a step."""


@dataclass(frozen=True)
class Work:
    """Requests.

    Attributes:
        prompts: token ids of each.
        lengths: new tokens of each.
        batch: how many run at a time, in either.
        steps: in how many parts each is asked for.
    """

    prompts: list[Ids]
    lengths: list[int]
    batch: int
    steps: int = 1

    @property
    def tokens(self) -> int:
        """New tokens in all."""
        return sum(self.lengths) * self.steps


class Bench:
    """A model, and the ways to write with it."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self._model = model
        self._tokenizer = tokenizer

    def engine(self, work: Work) -> float:
        """Tokens a second of a fresh engine."""
        network = CausalNetwork(self._model)
        given: dict[str, Any] = {"slots": work.batch, "max_context": 1024}
        engine = Engine(network, tokenizer=self._tokenizer, **given)
        prompts, started = list(work.prompts), time.perf_counter()
        for _ in range(work.steps):
            pairs = zip(prompts, work.lengths, strict=True)
            jobs = [Decode(str(i), prompt, count) for i, (prompt, count) in enumerate(pairs)]
            replies = asyncio.run(engine.decode(jobs))
            written = [reply.ids for reply in replies if not isinstance(reply, Failed)]
            assert [len(ids) for ids in written] == work.lengths, replies
            prompts = [(*prompt, *ids) for prompt, ids in zip(prompts, written, strict=True)]
        seconds = time.perf_counter() - started
        engine.close()
        return work.tokens / seconds

    def generate(self, work: Work) -> float:
        """Tokens a second of `generate`, counting those that were wanted."""

        def run() -> None:
            for first in range(0, len(work.prompts), work.batch):
                prompts = work.prompts[first : first + work.batch]
                for _ in range(work.steps):
                    most = max(work.lengths[first : first + work.batch])
                    prompts = self._generate(prompts, most)

        return self._rate(run, work)

    def floor(self, work: Work) -> float:
        """Tokens a second of bare forward passes; all requests are equal, in one batch."""

        @torch.inference_mode()
        def run() -> None:
            ids = torch.tensor(work.prompts, device=self._model.device)
            cache: Any = None
            for _ in range(work.lengths[0]):
                given = {"past_key_values": cache, "use_cache": True, "logits_to_keep": 1}
                output = self._model(input_ids=ids, **given)
                cache, ids = output.past_key_values, output.logits[:, -1].argmax(-1, keepdim=True)

        return self._rate(run, work)

    def _rate(self, run: Callable[[], None], work: Work) -> float:
        started = time.perf_counter()
        run_in_temporary_thread(run)
        return work.tokens / (time.perf_counter() - started)

    @torch.inference_mode()
    def _generate(self, prompts: list[Ids], new_tokens: int) -> list[Ids]:
        """One padded batch; rows of one length need no padding, and no mask."""
        width, model = max(map(len, prompts)), self._model
        ids = torch.tensor([[0] * (width - len(p)) + list(p) for p in prompts], device=model.device)
        mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
        config = model.generation_config
        config.eos_token_id, config.pad_token_id = None, 0
        written = model.generate(
            ids,
            attention_mask=mask.to(model.device),
            do_sample=False,
            max_new_tokens=new_tokens,
            min_new_tokens=None,
        )
        new = written[:, width:].tolist()
        return [(*prompt, *ids) for prompt, ids in zip(prompts, new, strict=True)]

    def compare(self, work: Work, rounds: int, *, floor: bool) -> dict[str, float]:
        """The engine against `generate`, in turn; of equal requests also against the floor."""
        self.engine(Work(work.prompts[:2], [4, 4][: len(work.prompts)], work.batch))
        run_in_temporary_thread(lambda: self._generate(work.prompts[:2], 4))
        found = alternate(lambda: self.engine(work), lambda: self.generate(work), rounds)
        if floor:
            pairs = [(self.engine(work), self.floor(work)) for _ in range(rounds)]
            ratio = statistics.median(ours / bare for ours, bare in pairs)
            bare = statistics.median(bare for _, bare in pairs)
            found |= {"of_floor": round(ratio, 3), "floor": round(bare, 1)}
        return found


def works(tokenizer: Any, new_tokens: int) -> dict[str, Work]:
    """The cases."""
    prompts = _prompts(tokenizer, 32)
    draw = random.Random(0)
    ragged = [draw.randint(16, 256) for _ in prompts]
    equal = {
        f"equal-{count}": Work([prompts[0]] * count, [new_tokens] * count, count)
        for count in (1, 8, 32)
    }
    steps = Work(prompts[:BATCH], [STEP] * BATCH, BATCH, STEPS)
    return equal | {"ragged-32": Work(prompts, ragged, BATCH), "prefix-8": steps}


def main() -> None:
    """Run the cases and print them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="abacus:target")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--new-tokens", type=int, default=128, help="of the equal requests")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--case", help="this case alone")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()

    model, tokenizer = _load(options.model, options.dtype)
    known, bench = works(tokenizer, options.new_tokens), Bench(model, tokenizer)
    if options.case not in (None, *known):
        parser.error(f"--case {options.case}: there are {', '.join(known)}")
    cases = [
        {"name": name, **bench.compare(work, options.rounds, floor=name.startswith("equal"))}
        for name, work in known.items()
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


def _prompts(tokenizer: Any, count: int) -> list[Ids]:
    """Prompts of different lengths, without a common prefix to reuse."""
    words = PROMPT.split()
    texts = [f"{i}. " + " ".join(words[: 20 + i % 15]) for i in range(count)]
    return [tuple(tokenizer.encode(text)) for text in texts]


if __name__ == "__main__":
    main()
