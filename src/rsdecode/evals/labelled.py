"""Solutions whose steps are known to be right or wrong, and what a reward model makes of them.

A line of the file is a JSON object in one of two forms:

    {"prompt": "...", "completions": ["step", ...], "labels": [true, false, ...]}
    {"problem": "...", "steps": ["step", ...], "label": 1}

The first is TRL's, and what `rsd prm label` writes; the second is ProcessBench's, whose label is
the place of the first wrong step, counted from 0, or -1 if there is none.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from rsdecode.core.errors import InputError
from rsdecode.core.protocols import Caching, RewardModel
from rsdecode.core.requests import Failed, Score
from rsdecode.core.types import Context, Message, Segment
from rsdecode.methods.scoring import rewards_in


@dataclass(frozen=True, slots=True)
class Labelled:
    """A solution up to its first wrong step.

    Attributes:
        right: whether each step is right; only the last can be wrong.
    """

    question: str
    steps: tuple[str, ...]
    right: tuple[bool, ...]


def read_labelled(path: Path, limit: int | None = None) -> list[Labelled]:
    """Read a file of labelled steps.

    Raises:
        InputError: it cannot be read, or a line has neither form; names the line.
    """
    found: list[Labelled] = []
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if limit is not None and len(found) >= limit:
                    break
                if line.strip():
                    found.append(_solution(f"{path}, line {number}", line))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise InputError(f"{path}: cannot be read: {reason}") from None
    return found


def _solution(where: str, line: str) -> Labelled:
    try:
        record: Any = json.loads(line)
        if "completions" in record:
            question, steps, labels = record["prompt"], record["completions"], record["labels"]
        else:
            question, steps, label = record["problem"], record["steps"], int(record["label"])
            labels = [label < 0 or place < label for place in range(len(steps))]
        if not (isinstance(question, str) and all(isinstance(step, str) for step in steps)):
            raise TypeError("a question and steps must be texts")
        if len(labels) != len(steps) or not steps:
            raise ValueError(f"{len(labels)} labels for {len(steps)} steps")
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{where}: no labelled solution ({error!r}): a line must have prompt, completions and "
            "labels, or problem, steps and label"
        ) from None
    right = [bool(label) for label in labels]
    end = right.index(False) + 1 if False in right else len(right)
    return Labelled(question, as_written(steps)[:end], tuple(right[:end]))


def as_written(steps: Sequence[str]) -> tuple[str, ...]:
    """Steps as a model writes them: with the break before the next one, which labels leave out.

    The last one has none, as the answer ends there. What reads texts as they are, such as
    `likelihood:target`, would find the next step, or the break, unlikely otherwise.
    """
    *before, last = steps
    return (*(step if step.endswith("\n") else f"{step}\n\n" for step in before), last)


async def score_labelled(
    model: RewardModel, solutions: Sequence[Labelled], batch: int = 32
) -> tuple[list[float], list[bool]]:
    """The reward of every step, and whether it is right.

    Raises:
        RsdError: a solution cannot be scored.
    """
    asked = [
        Score(
            Context((Message("user", solution.question),)),
            tuple(map(Segment, solution.steps)),
            f"calibrate/{number}",
            ends=all(solution.right),
        )
        for number, solution in enumerate(solutions)
    ]
    rewards = await score_all(model, asked, batch)
    return list(chain.from_iterable(rewards)), [r for each in solutions for r in each.right]


async def score_all(
    model: RewardModel, asked: Sequence[Score], batch: int = 32
) -> list[list[float]]:
    """The rewards of each request's steps, some requests at a time.

    Raises:
        RsdError: one cannot be scored.
    """
    found: list[list[float]] = []
    for start in range(0, len(asked), batch):
        some = asked[start : start + batch]
        for request, reply in zip(some, await model.score(some), strict=True):
            if isinstance(reply, Failed):
                raise reply.error
            found.append(list(rewards_in(reply, len(request.steps))))
            if isinstance(model, Caching):
                model.end(request.session)
    return found
