"""Steps with outcomes from what `rsd eval` has kept: each is as right as its answer.

A reward that was given to a step when the answer was written is taken from there, where it is the
same reward's. Any other is read anew: the reward model reads the question and the steps, and
nobody writes. Drafts that were rejected have no outcome and are left out, and so are thoughts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rsdecode.config import RunConfig, resolved
from rsdecode.core.errors import ConfigError
from rsdecode.core.protocols import RewardModel
from rsdecode.core.requests import Score
from rsdecode.core.types import Context, Message, Segment
from rsdecode.evals.labelled import score_all
from rsdecode.results.store import ResultSet, read_result_sets


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """One answer of an evaluation.

    Attributes:
        messages: the conversation that it answers.
        steps: all of it.
        rewards: of the steps that the same reward has judged; None for the others.
        right: whether the answer is.
    """

    messages: tuple[Message, ...]
    steps: tuple[str, ...]
    rewards: tuple[float | None, ...]
    right: bool


def holds_results(folder: Path) -> bool:
    """Whether `rsd eval` has written into a folder."""
    return (folder / "cells").is_dir()


def read_stored(folder: Path, config: RunConfig, limit: int) -> list[StoredAnswer]:
    """The answers of an evaluation, those of each method in turn.

    Args:
        folder: its --out.
        config: whose reward and prompts are meant.
        limit: answers at most.

    Raises:
        ConfigError: the folder holds none.
    """
    parts = [_answers(results, config) for results in read_result_sets(folder)]
    longest = max(map(len, parts), default=0)
    mixed = [part[place] for place in range(longest) for part in parts if place < len(part)]
    if not mixed:
        raise ConfigError(f"--data {folder} holds no answers with steps")
    return mixed[:limit]


async def stored_rewards(
    model: RewardModel | None, answers: Sequence[StoredAnswer]
) -> tuple[list[float], list[bool]]:
    """The reward of each step, and whether its answer is right.

    Args:
        model: reads answers that the same reward has not judged to the last step; None leaves out
            the steps without a reward.
        answers: from `read_stored`.

    Raises:
        RsdError: an answer cannot be scored.
    """
    rewards = [list(answer.rewards) for answer in answers]
    unread = [place for place, each in enumerate(rewards) if None in each] if model else []
    asked = [
        Score(
            Context(answers[place].messages),
            tuple(map(Segment, answers[place].steps)),
            f"calibrate/{place}",
            ends=True,
        )
        for place in unread
    ]
    for place, found in zip(unread, await score_all(model, asked) if model else [], strict=True):
        rewards[place] = list(found)
    pairs = [
        (reward, answer.right)
        for answer, each in zip(answers, rewards, strict=True)
        for reward in each
        if reward is not None
    ]
    return [reward for reward, _ in pairs], [right for _, right in pairs]


def _answers(results: ResultSet, config: RunConfig) -> list[StoredAnswer]:
    """Those of one method, failed ones left out."""
    stored = results.meta.config
    system = str(stored["prompt"]["system"] or "")
    head = [Message("system", system)] if system else []
    judged = _same_reward(config, stored)
    found: list[StoredAnswer] = []
    for record in results.records:
        steps = [step for step in record["steps"] if not step.get("thought")]
        if record["error"] is None and steps:
            found.append(
                StoredAnswer(
                    messages=(*head, Message("user", record["question"])),
                    steps=tuple(step["text"] for step in steps),
                    rewards=tuple(step["reward"] if judged else None for step in steps),
                    right=bool(record["grade"]["correct"]),
                )
            )
    return found


def _same_reward(config: RunConfig, stored: Mapping[str, Any]) -> bool:
    """Whether an evaluation was judged by the reward that is meant, as it is meant."""
    meant = resolved(config)
    return all(stored.get(part) == meant.get(part) for part in ("reward", "draft", "target"))
