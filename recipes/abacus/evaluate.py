"""Measures the family on held-out problems while making it.

    python -m recipes.abacus.evaluate --models DIR --problems 1000

Prints one JSON object: accuracy of draft and target alone, quality of the PRM on sampled
solutions, and RSD over thresholds. The package's own ``rsd eval`` gives the published numbers.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from recipes.abacus.calibrate import scored_steps
from recipes.abacus.config import THRESHOLDS
from recipes.abacus.data import encode, prompt_text
from recipes.abacus.export import load_exported_prm
from recipes.abacus.label import label_chunk, split_steps
from recipes.abacus.network import parameter_count
from recipes.abacus.quality import quality
from recipes.abacus.rsd import Family, decode
from recipes.abacus.sample import Sampling, Writer, continue_texts
from rsdecode.models.abacus import AbacusProblem, first_error, is_solved, problems


class Accuracy(NamedTuple):
    """Greedy (or sampled) accuracy of one model."""

    solved: float
    by_level: dict[int, float]
    steps_right: float  # of the steps up to and including the first wrong one
    tokens: int


def accuracy(
    writer: Writer, problems: Sequence[AbacusProblem], temperature: float = 0.0
) -> Accuracy:
    """Lets a model answer every problem alone."""
    texts = [prompt_text(problem.question) for problem in problems]
    written = continue_texts(writer, texts, Sampling(temperature), 0)
    solved = [is_solved(p, text) for p, text in zip(problems, written, strict=True)]
    right = wrong = 0
    for problem, text in zip(problems, written, strict=True):
        steps = split_steps(text)
        error = first_error(problem, steps)
        right += len(steps) if error is None else error
        wrong += error is not None
    levels = sorted({problem.level for problem in problems})
    return Accuracy(
        solved=sum(solved) / len(solved),
        by_level={
            level: _mean([s for s, p in zip(solved, problems, strict=True) if p.level == level])
            for level in levels
        },
        steps_right=right / max(1, right + wrong),
        tokens=sum(len(encode(text, writer.tokenizer)) for text in written),
    )


def _mean(values: Sequence[bool]) -> float:
    return sum(values) / len(values)


def load_family(folder: Path) -> Family:
    """The three exported models, computing in fp32."""
    auto: Any = AutoModelForCausalLM
    fast: Any = PreTrainedTokenizerFast
    draft: Any = auto.from_pretrained(folder / "draft").float()
    target: Any = auto.from_pretrained(folder / "target").float()
    tokenizer: Any = fast.from_pretrained(folder / "draft")
    return Family(draft, target, load_exported_prm(folder / "prm"), tokenizer)


def evaluate(
    family: Family, count: int, out: Path, thresholds: Sequence[float] = THRESHOLDS
) -> dict[str, Any]:
    """Measures everything on ``count`` test problems, prints it and writes it to ``out``."""
    chosen = problems("test", limit=count)
    result: dict[str, Any] = {"problems": count, "parameters": {}}
    for name in ("draft", "target", "prm"):
        result["parameters"][name] = parameter_count(getattr(family, name))
    for name in ("draft", "target"):
        measured = accuracy(Writer(getattr(family, name), family.tokenizer), chosen)
        result[name] = measured._asdict()
        print(f"{name}: {result[name]}", flush=True)
    result["prm"] = _reward_quality(family, count)
    alone = 2.0 * result["parameters"]["target"] * result["target"]["tokens"]
    result["rsd"] = []
    for threshold in thresholds:
        outcome = decode(family, chosen, threshold)
        steps = outcome.ledger.accepted + outcome.ledger.rejected
        row = {
            "threshold": threshold,
            "accuracy": _mean(outcome.solved),
            "accepted": outcome.ledger.accepted / steps,
            "flops_relative_to_target": outcome.flops / alone,
            "tokens": asdict(outcome.ledger),
        }
        print(row, flush=True)
        result["rsd"].append(row)
    out.write_text(json.dumps(result, indent=2) + "\n")
    return result


def _reward_quality(family: Family, count: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in ("draft", "target"):
        for temperature in (0.0, 1.0):
            samples = label_chunk(
                Writer(getattr(family, name), family.tokenizer),
                "test",
                count,
                temperature=temperature,
                seed=9_000_000,
                from_prefix=False,
            )
            key = f"{name}, T = {temperature:g}"
            found[key] = quality(*scored_steps(family.prm, samples, family.tokenizer))
            print(f"prm on {key}: {found[key]}", flush=True)
    return found


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m recipes.abacus.evaluate")
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--problems", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=Path("evaluation.json"))
    options = parser.parse_args()
    evaluate(load_family(options.models), options.problems, options.out)


if __name__ == "__main__":
    main()
