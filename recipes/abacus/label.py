"""Samples solutions from draft and target and finds the first wrong step of each.

A sample starts from the gold solution up to a random step, because that is what the PRM meets
under RSD: a right prefix (whoever wrote it) and a new step of the draft.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

from recipes.abacus.data import prompt_text
from recipes.abacus.sample import Sampling, Writer, continue_texts
from recipes.abacus.tokenizer import EOS, SEPARATOR
from rsdecode.models.abacus.checker import first_error
from rsdecode.models.abacus.generator import LEVELS, Split, generate
from rsdecode.models.abacus.problem import AbacusProblem


@dataclass(frozen=True, slots=True)
class Sample:
    """A solution up to its first wrong step.

    ``seed`` and ``index`` name the problem; the first ``given`` steps are gold; only the last step
    can be wrong.
    """

    split: Split
    level: int
    seed: int
    index: int
    steps: tuple[str, ...]
    given: int
    wrong: bool

    def problem(self) -> AbacusProblem:
        """The problem, drawn again."""
        return generate(self.split, self.level, self.index, seed=self.seed)


def split_steps(solution: str) -> list[str]:
    """The steps of a written solution, without separators and end token."""
    return [step for step in solution.replace(EOS, "").split(SEPARATOR) if step]


def label_chunk(
    writer: Writer,
    split: Split,
    count: int,
    *,
    temperature: float,
    seed: int,
    from_prefix: bool = True,
) -> list[Sample]:
    """Samples and labels ``count`` solutions, levels in equal parts."""
    rng = Random(f"label/{split}/{seed}")
    levels = list(LEVELS)
    drafts: list[_Draft] = []
    for i in range(count):
        level, index = levels[i % len(levels)], rng.getrandbits(40)
        problem = generate(split, level, index, seed=seed)
        given = rng.randrange(len(problem.steps)) if from_prefix and rng.random() < 0.5 else 0
        drafts.append(_Draft(problem, level, index, problem.steps[:given]))
    texts = [
        prompt_text(draft.problem.question) + "".join(step + SEPARATOR for step in draft.given)
        for draft in drafts
    ]
    written = continue_texts(
        writer,
        texts,
        Sampling(temperature),
        seed,
        go_on=lambda i, text: drafts[i].first_error(text) is None,
    )
    samples: list[Sample] = []
    for draft, text in zip(drafts, written, strict=True):
        steps, error = (*draft.given, *split_steps(text)), draft.first_error(text)
        kept = steps if error is None else steps[: error + 1]
        given = len(draft.given)
        samples.append(
            Sample(split, draft.level, seed, draft.index, kept, given, error is not None)
        )
    return samples


@dataclass(frozen=True, slots=True)
class _Draft:
    """A solution to be sampled: its problem and the gold steps that it starts with."""

    problem: AbacusProblem
    level: int
    index: int
    given: tuple[str, ...]

    def first_error(self, text: str) -> int | None:
        """The first wrong step of the gold start continued by ``text``."""
        return first_error(self.problem, (*self.given, *split_steps(text)))


def write_samples(path: Path, chunks: Iterator[Sequence[Sample]], done: int) -> None:
    """Appends chunks after the first ``done`` samples, whole chunks only."""
    lines = path.read_text().splitlines(keepends=True)[:done] if path.exists() else []
    path.write_text("".join(lines))
    total = done
    with path.open("a") as file:
        for chunk in chunks:
            file.write("".join(json.dumps(asdict(sample)) + "\n" for sample in chunk))
            file.flush()
            total += len(chunk)
            print(f"{path.stem}: {total} samples", flush=True)


def read_samples(path: Path) -> list[Sample]:
    """The samples of a file; a line cut short by a kill is left out."""
    samples: list[Sample] = []
    if not path.exists():
        return samples
    for line in path.read_text().splitlines(keepends=True):
        if line.endswith("\n"):
            row: dict[str, Any] = json.loads(line)
            row["steps"] = tuple(row["steps"])
            samples.append(Sample(**row))
    return samples


def label(
    writer: Writer, path: Path, split: Split, count: int, seed: int, *, chunk_size: int = 1000
) -> None:
    """Fills ``path`` with samples; every second chunk is greedy, the others are at T = 1."""
    chunk_size = min(chunk_size, count)
    done = len(read_samples(path)) // chunk_size * chunk_size
    chunks = (
        label_chunk(
            writer,
            split,
            chunk_size,
            temperature=float(start // chunk_size % 2),
            seed=seed + start,
        )
        for start in range(done, count, chunk_size)
    )
    write_samples(path, chunks, done)
