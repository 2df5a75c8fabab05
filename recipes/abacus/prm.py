"""Trains the PRM: right-so-far at every token and at every step's mark, plus token prediction."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from recipes.abacus import checkpoint
from recipes.abacus.config import Config
from recipes.abacus.data import Batch, Example, draw_problems
from recipes.abacus.growth import grow, pool_errors
from recipes.abacus.label import read_samples
from recipes.abacus.negatives import (
    UNLABELLED,
    corrupt,
    foreign_example,
    replaced_example,
    reward_example,
)
from recipes.abacus.network import Reading, RewardNetwork, reward_network
from recipes.abacus.tokenizer import build_tokenizer
from recipes.abacus.train import pad_id, summed_cross_entropy, train
from rsdecode.models.abacus import AbacusProblem
from rsdecode.training.growth import look_back

TOKEN_WEIGHT = 0.5
LANGUAGE_WEIGHT = 0.5
#: of the sampled solutions, how many are the target's
TARGET_SHARE = 0.15
#: of the examples of an update, how many have a question that is no problem of the family
FOREIGN_SHARE = 1 / 16


def reward_loss(network: nn.Module, part: Batch, whole: Sequence[Batch]) -> Tensor:
    """Binary cross-entropy at the marks, at all labelled tokens, and the language-model loss."""
    reading: Reading = network(part.tokens)
    labelled = part.labels >= 0
    errors = functional.binary_cross_entropy_with_logits(
        reading.values.float(), part.labels.clamp(min=0), reduction="none"
    )
    at_marks = (errors * part.marks).sum() / max(1, sum(int(b.marks.sum()) for b in whole))
    at_tokens = (errors * labelled).sum() / sum(int((b.labels >= 0).sum()) for b in whole)
    words = summed_cross_entropy(reading.words, part) / sum(
        int((b.targets >= 0).sum()) for b in whole
    )
    return at_marks + TOKEN_WEIGHT * at_tokens + LANGUAGE_WEIGHT * words


class Steps:
    """Examples of whole steps: corrupted gold solutions, and samples of draft and target."""

    def __init__(self, config: Config, folder: Path, question_label: float) -> None:
        self._seed, self._question_label = config.seed, question_label
        self._draft = read_samples(folder / "draft-train.jsonl")
        self._target = read_samples(folder / "target-train.jsonl")

    def corrupted(self, update: int, count: int, rng: Random) -> list[Example]:
        """Gold solutions whose last step was made wrong."""
        return [
            self._example(problem, corrupt(problem, rng), True)
            for problem in draw_problems(self._seed, "prm", update, count)
        ]

    def sampled(self, count: int, rng: Random) -> list[Example]:
        """Sampled solutions up to their end or their first wrong step."""
        examples: list[Example] = []
        for _ in range(count):
            sample = rng.choice(self._target if rng.random() < TARGET_SHARE else self._draft)
            examples.append(self._example(sample.problem(), sample.steps, sample.wrong))
        return examples

    def _example(self, problem: AbacusProblem, steps: Sequence[str], wrong: bool) -> Example:
        return reward_example(
            problem, steps, wrong, build_tokenizer(), question_label=self._question_label
        )


def train_on_digits(config: Config, folder: Path) -> None:
    """First part: the draft grown deeper learns to tell a replaced digit from a right one."""
    tokenizer = build_tokenizer()
    network = reward_network(config.prm_digits, tokenizer, config.seed)
    layers: list[Any] = list(network.model.layers)
    for layer in layers[grow(network, _trained("draft", folder)) :]:
        look_back(layer.self_attn, network.config)
    steps, count = Steps(config, folder, UNLABELLED), config.prm_digits_schedule.problems_per_update

    def source(update: int) -> list[Example]:
        rng = Random(f"prm/{config.seed}/{update}")
        mixed = update >= config.prm_mixes_from
        digits = count // 4 if mixed else count
        examples = [
            replaced_example(problem, rng, tokenizer)
            for problem in draw_problems(config.seed, "prm-digits", update, digits)
        ]
        if mixed:
            examples += steps.corrupted(update, count // 4, rng)
            examples += steps.sampled(count - len(examples), rng)
        return examples

    train(
        network,
        source,
        reward_loss,
        config.prm_digits_schedule,
        folder / "prm-digits.pt",
        pad=pad_id(tokenizer),
        until=config.prm_grows_at,
    )


def train_prm(config: Config, folder: Path) -> None:
    """Second part: with a layer more, only whole steps; the question counts as right."""
    tokenizer = build_tokenizer()
    network = reward_network(config.prm, tokenizer, config.seed)
    grow(network, _trained("prm-digits", folder))
    pool_errors(network)
    steps, count = Steps(config, folder, 1.0), config.prm_schedule.problems_per_update

    def strangers(update: int, count: int) -> list[AbacusProblem]:
        return draw_problems(config.seed, "prm-foreign", update, count)

    def source(update: int) -> list[Example]:
        rng = Random(f"prm/{config.seed}/{update}")
        foreign = round(FOREIGN_SHARE * count)
        return [
            *steps.corrupted(update, count // 2, rng),
            *steps.sampled(count - count // 2 - foreign, rng),
            *(foreign_example(problem, rng, tokenizer) for problem in strangers(update, foreign)),
        ]

    train(
        network,
        source,
        reward_loss,
        config.prm_schedule,
        folder / "prm.pt",
        pad=pad_id(tokenizer),
    )


def _trained(name: str, folder: Path) -> dict[str, Tensor]:
    state = checkpoint.load(folder / f"{name}.pt")
    if state is None:
        raise FileNotFoundError(f"{folder}/{name}.pt: run the stage that trains it first")
    return state["network"]


@torch.inference_mode()
def score_steps(
    network: RewardNetwork, examples: Sequence[Example], *, rows: int = 64
) -> list[list[float]]:
    """The reward logit of every step of every example; batch in, batch out, in the same order."""
    network.eval()
    place = next(network.parameters()).device
    order = sorted(range(len(examples)), key=lambda i: len(examples[i].tokens))
    scores: list[list[float]] = [[] for _ in examples]
    for start in range(0, len(order), rows):
        chosen = [examples[i] for i in order[start : start + rows]]
        width = max(len(example.tokens) for example in chosen)
        tokens = torch.tensor(
            [e.tokens + [0] * (width - len(e.tokens)) for e in chosen], device=place
        )
        values = network(tokens).values.float().cpu()
        for i, example, row in zip(order[start : start + rows], chosen, values, strict=True):
            marks = torch.tensor(example.marks)
            scores[i] = row[: len(marks)][marks].tolist()
    return scores
