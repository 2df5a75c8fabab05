"""Batched sampling with a key-value cache, for labelling and measuring."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast, Qwen2ForCausalLM

from recipes.abacus.data import encode
from recipes.abacus.decoder import Decoder
from recipes.abacus.tokenizer import EOS, SEPARATOR
from recipes.abacus.train import pad_id


class Writer(NamedTuple):
    """A language model and its tokenizer."""

    model: Qwen2ForCausalLM
    tokenizer: PreTrainedTokenizerFast


class Sampling(NamedTuple):
    """How to continue a text. ``stop`` ends a row (the token itself is kept)."""

    temperature: float = 0.0
    max_tokens: int = 700
    stop: tuple[str, ...] = ("<|eos|>",)
    rows: int = 500


#: Greedy, one step at a time; a step that does not end is cut and is wrong.
STEP = Sampling(max_tokens=120, stop=("\n\n", EOS))
MAX_STEPS = 12


#: (which text, what was written so far, ending in a separator) -> whether to go on
GoOn = Callable[[int, str], bool]


def continue_texts(
    writer: Writer,
    texts: Sequence[str],
    sampling: Sampling,
    seed: int,
    *,
    go_on: GoOn = lambda _, __: True,
) -> list[str]:
    """Continues every text; batch in, batch out, in the same order.

    Args:
        writer: Who writes.
        texts: What to continue.
        sampling: How.
        seed: Of the draws.
        go_on: EvalRequest after every step, to stop a solution early.
    """
    tokenizer = writer.tokenizer
    ids = [encode(text, tokenizer) for text in texts]
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    written: list[str] = [""] * len(ids)
    generator = torch.Generator(device=writer.model.device).manual_seed(seed)
    for start in range(0, len(order), sampling.rows):
        chosen = order[start : start + sampling.rows]
        rows = _continue_rows(
            writer,
            [ids[i] for i in chosen],
            sampling,
            generator,
            lambda row, text, chosen=chosen: go_on(chosen[row], text),
        )
        for i, row in zip(chosen, rows, strict=True):
            written[i] = str(tokenizer.decode(row))
    return written


@torch.inference_mode()
def _continue_rows(
    writer: Writer,
    prompts: list[list[int]],
    sampling: Sampling,
    generator: torch.Generator,
    go_on: GoOn,
) -> list[list[int]]:
    ends = {encode(text, writer.tokenizer)[0] for text in sampling.stop}
    place = writer.model.device
    stops = torch.tensor(sorted(ends), device=place)
    step_end = encode(SEPARATOR, writer.tokenizer)[0]
    tokens, real = _pad_left(prompts, pad_id(writer.tokenizer), place)
    decoder = Decoder(writer.model, len(prompts), tokens.shape[1] + sampling.max_tokens)
    live = list(range(len(prompts)))
    rows: list[list[int]] = [[] for _ in prompts]
    going = torch.ones(len(live), dtype=torch.bool, device=place)
    for _ in range(sampling.max_tokens):
        chosen = _choose(decoder.read(tokens, real), sampling.temperature, generator)
        going &= ~torch.isin(chosen, stops)
        drawn = cast("list[int]", chosen.tolist())
        for i, (row, token) in enumerate(zip(live, drawn, strict=True)):
            rows[row].append(token)
            if (
                token == step_end
                and going[i]
                and not go_on(row, str(writer.tokenizer.decode(rows[row])))
            ):
                going[i] = False
        if not going.any():
            break
        tokens = chosen[:, None]
        if going.sum() <= 0.75 * len(live):  # dropping rows copies the cache: not for every one
            keep = going.nonzero()[:, 0]
            decoder.keep(keep)
            tokens = tokens[keep]
            places = cast("list[int]", keep.tolist())
            live = [live[i] for i in places]
            going = going[keep]
        real = torch.ones_like(tokens, dtype=torch.bool)
    return [_cut(row, ends) for row in rows]


def _pad_left(prompts: list[list[int]], pad: int, place: torch.device) -> tuple[Tensor, Tensor]:
    width = max(map(len, prompts))
    tokens = [[pad] * (width - len(prompt)) + prompt for prompt in prompts]
    real = [[False] * (width - len(prompt)) + [True] * len(prompt) for prompt in prompts]
    return torch.tensor(tokens, device=place), torch.tensor(real, device=place)


def _choose(logits: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    if temperature == 0.0:
        return logits.argmax(-1)
    weights = torch.softmax(logits.float() / temperature, -1)
    return torch.multinomial(weights, 1, generator=generator)[:, 0]


def _cut(row: list[int], ends: set[int]) -> list[int]:
    for i, token in enumerate(row):
        if token in ends:
            return row[: i + 1]
    return row
