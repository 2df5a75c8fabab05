"""The training loop that draft, target and PRM share."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedTokenizerFast

from recipes.abacus import checkpoint
from recipes.abacus.attention import use_fast_attention
from recipes.abacus.config import Schedule, Shape
from recipes.abacus.data import IGNORED, Batch, Example, batches, draw_problems, language_example
from recipes.abacus.network import language_model
from recipes.abacus.optimiser import Optimiser
from recipes.abacus.tokenizer import build_tokenizer

#: examples of one update
Source = Callable[[int], Sequence[Example]]
#: the loss of one batch, already divided by the sizes of the whole update
Loss = Callable[[nn.Module, Batch, Sequence[Batch]], Tensor]


def device() -> torch.device:
    """The GPU if there is one; on a CPU one thread, since two stages run side by side."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    torch.set_num_threads(1)
    return torch.device("cpu")


def train(
    network: nn.Module,
    source: Source,
    loss_of: Loss,
    schedule: Schedule,
    path: Path,
    *,
    pad: int,
    until: int | None = None,
) -> None:
    """Trains in place, saving to ``path``; goes on from ``path`` if it exists.

    Args:
        network: What to train.
        source: Examples of an update, a pure function, so that a resumed run is the same run.
        loss_of: The loss of one batch.
        schedule: Length, rate and checkpoint interval.
        path: The checkpoint.
        pad: Token id that fills short rows.
        until: Stop after this many updates, short of the schedule's end.
    """
    place = device()
    network.to(place).train()
    if place.type == "cpu":
        use_fast_attention(network)
    optimiser = Optimiser(network, schedule)
    done = 0
    if state := checkpoint.load(path):
        network.load_state_dict(state["network"])
        optimiser.load_state_dict(state["optimiser"])
        done = state["updates"]
    end = schedule.updates if until is None else until
    meter = _Meter(path.stem, schedule.updates)
    for update in range(done, end):
        parts = batches(source(update), pad, schedule.tokens_per_forward, place)
        for part in parts:
            with torch.autocast(place.type, dtype=torch.bfloat16):
                loss = loss_of(network, part, parts)
            loss.backward()
            meter.add(loss, part)
        optimiser.step(update)
        meter.tick(update + 1)
        if (update + 1) % schedule.save_every == 0 or update + 1 == end:
            state = {"network": network.state_dict(), "optimiser": optimiser.state_dict()}
            checkpoint.save(path, {**state, "updates": update + 1})


class _Meter:
    """Prints a line now and then: updates, loss, tokens per second, time left."""

    def __init__(self, name: str, updates: int, every_s: float = 15.0) -> None:
        self._name, self._updates, self._every_s = name, updates, every_s
        self._since, self._loss, self._tokens, self._ticks = time.monotonic(), 0.0, 0, 0

    def add(self, loss: Tensor, part: Batch) -> None:
        self._loss += loss.item()
        self._tokens += int((part.targets >= 0).sum())

    def tick(self, done: int) -> None:
        self._ticks += 1
        elapsed = time.monotonic() - self._since
        if elapsed < self._every_s and done < self._updates:
            return
        left = (self._updates - done) * elapsed / self._ticks / 60
        print(
            f"{self._name}: {done}/{self._updates}  loss {self._loss / self._ticks:.4f}  "
            f"{self._tokens / elapsed:,.0f} tokens/s  {left:.0f} min left",
            flush=True,
        )
        self._since, self._loss, self._tokens, self._ticks = time.monotonic(), 0.0, 0, 0


def language_loss(network: nn.Module, part: Batch, whole: Sequence[Batch]) -> Tensor:
    """Cross-entropy of the solution tokens, averaged over the update."""
    logits = network(input_ids=part.tokens, use_cache=False).logits
    return summed_cross_entropy(logits, part) / sum(int((b.targets >= 0).sum()) for b in whole)


def summed_cross_entropy(logits: Tensor, part: Batch) -> Tensor:
    """Sum over the tokens that have a target."""
    return functional.cross_entropy(
        logits.float().flatten(0, 1), part.targets.flatten(), ignore_index=IGNORED, reduction="sum"
    )


def train_language_model(
    name: str,
    shape: Shape,
    schedule: Schedule,
    folder: Path,
    *,
    seed: int,
) -> None:
    """Trains the draft or the target on gold solutions drawn on the fly."""
    tokenizer = build_tokenizer()

    def source(update: int) -> list[Example]:
        problems = draw_problems(seed, name, update, schedule.problems_per_update)
        return [language_example(problem, tokenizer) for problem in problems]

    train(
        language_model(shape, tokenizer, seed),
        source,
        language_loss,
        schedule,
        folder / f"{name}.pt",
        pad=pad_id(tokenizer),
    )


def pad_id(tokenizer: PreTrainedTokenizerFast) -> int:
    """The id of the padding token."""
    padding: Any = tokenizer.pad_token
    return int(cast("int", tokenizer.convert_tokens_to_ids(padding)))
