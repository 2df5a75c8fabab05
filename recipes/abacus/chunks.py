"""Calibrates what the PRM says inside a step, for chunks of tokens; writes it into config.json.

    python -m recipes.abacus.chunks --models DIR

The PRM is trained with a loss at every token up to the first wrong one; what it reads after that is
not trained, so a chunk's last token alone says little, and the lowest reading of its tokens much.
The map from that to the share of chunks that are right is fitted on greedy answers of the draft to
validation problems, up to their first wrong chunk, over chunks of several lengths.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from recipes.abacus.data import encode, prompt_text
from recipes.abacus.export import load_exported_prm
from recipes.abacus.network import Reading, RewardNetwork
from recipes.abacus.quality import area_under_curve
from recipes.abacus.sample import Sampling, Writer, continue_texts
from recipes.abacus.tokenizer import EOS, MARK, SEPARATOR, build_tokenizer
from rsdecode.evals.fitting import fit
from rsdecode.models.abacus import AbacusProblem, problems

LENGTHS = (4, 8, 16)
PROBLEMS = 300


class Chunk(NamedTuple):
    """A chunk of an answer: what is read at its tokens, and whether all so far is right."""

    readings: tuple[float, ...]
    right: bool


@torch.inference_mode()
def readings(
    network: RewardNetwork,
    tokenizer: PreTrainedTokenizerFast,
    problem: AbacusProblem,
    answer: Sequence[int],
) -> list[float]:
    """The reward at every token of an answer, whose separators become marks."""
    prompt = encode(prompt_text(problem.question), tokenizer)
    [separator], [mark] = encode(SEPARATOR, tokenizer), encode(MARK, tokenizer)
    written = [mark if token == separator else token for token in answer]
    read: Reading = network(torch.tensor([[*prompt, *written]]))
    return cast("list[float]", read.values[0, len(prompt) :].float().sigmoid().tolist())


def cut(
    problem: AbacusProblem,
    answer: Sequence[int],
    read: Sequence[float],
    tokenizer: PreTrainedTokenizerFast,
    length: int,
) -> Iterator[Chunk]:
    """The chunks of an answer up to the first wrong one."""
    gold = SEPARATOR.join(problem.steps)
    for start in range(0, len(answer), length):
        end = min(start + length, len(answer))
        right = gold.startswith(str(tokenizer.decode(list(answer[:end]))))
        yield Chunk(tuple(read[start:end]), right)
        if not right:
            return


def calibrate_chunks(models: Path, count: int = PROBLEMS) -> dict[str, float]:
    """Fit the map on exported models, and write it into the PRM's config.json.

    Models that never, or always, write what is right are left as they are.

    Args:
        models: the folder of exported models.
        count: problems at most.

    Returns:
        For each length, the areas under the curve of the last and of the lowest reading.
    """
    tokenizer = build_tokenizer(compact=True)
    draft: Any = AutoModelForCausalLM.from_pretrained(models / "draft", dtype=torch.float32).eval()
    network = load_exported_prm(models / "prm").eval()
    asked = problems("validation", limit=min(count, PROBLEMS))
    prompts = [prompt_text(problem.question) for problem in asked]
    writer = Writer(draft, tokenizer)
    texts = continue_texts(writer, prompts, Sampling(max_tokens=700, stop=(EOS,)), 0)
    answers = [encode(text.removesuffix(EOS), tokenizer) for text in texts]
    chunks: dict[int, list[Chunk]] = {length: [] for length in LENGTHS}
    for problem, answer in zip(asked, answers, strict=True):
        read = readings(network, tokenizer, problem, answer)
        for length in LENGTHS:
            chunks[length] += cut(problem, answer, read, tokenizer, length)
    every = [chunk for listed in chunks.values() for chunk in listed]
    if len({chunk.right for chunk in every}) < 2:
        print("the draft's chunks are all alike: not calibrated", flush=True)
        return {}
    found = fit("isotonic", [min(c.readings) for c in every], [c.right for c in every])
    path = models / "prm" / "config.json"
    config = json.loads(path.read_text())
    config["rsd_reward"] = {"chunks": {"at": "lowest", "calibration": found.as_record()}}
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    areas: dict[str, float] = {}
    for length, listed in chunks.items():
        right = [chunk.right for chunk in listed]
        areas[f"{length}, last"] = area_under_curve([c.readings[-1] for c in listed], right)
        areas[f"{length}, lowest"] = area_under_curve([min(c.readings) for c in listed], right)
    print(json.dumps(areas), flush=True)
    return areas


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m recipes.abacus.chunks", description=__doc__)
    parser.add_argument("--models", type=Path, required=True, help="the exported models")
    calibrate_chunks(parser.parse_args().models)


if __name__ == "__main__":
    main()
