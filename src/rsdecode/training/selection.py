"""Active learning: which answers of an evaluation teach a reward model most, once labelled.

Those whose lowest reward is farthest from what came of them: rewarded steps of a wrong answer, and
steps of a right one of which the reward model was unsure. A rejected draft, of which nobody knows
what would have come of it, is told apart by the model's doubt alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rsdecode.core.errors import ConfigError
from rsdecode.core.types import FinishReason, Ledger, Role
from rsdecode.results.identity import digest
from rsdecode.results.store import ResultSet, read_result_sets
from rsdecode.training.labeller import Sampled

WHOLE = (FinishReason.STOP, FinishReason.EOS)
"""How a draft ends that is a step, not a part of one."""
LEAST = 0.05
"""Of the distance: what is nearer than this was clear."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An answer, or its beginning with a draft that was rejected.

    Attributes:
        distance: of the lowest reward from the outcome, in [0, 1].
    """

    distance: float
    problem: str
    steps: tuple[str, ...]
    ended: bool
    right: bool | None


@dataclass(frozen=True, slots=True)
class Selection:
    """What is to be labelled.

    Attributes:
        data: the data set of the problems.
        solutions: by problem.
        key: names it in the key of the labels.
        seen: candidates in all.
    """

    data: str
    solutions: Mapping[str, tuple[Sampled, ...]]
    key: str
    seen: int

    @property
    def count(self) -> int:
        """How many solutions."""
        return sum(map(len, self.solutions.values()))


def select_uncertain(folder: Path, count: int) -> Selection:
    """The most telling solutions of an evaluation with a reward model.

    Args:
        folder: of `rsd eval --out`.
        count: of solutions, at most.

    Raises:
        ConfigError: there is no such evaluation, it is of several data sets, or nothing in it was
            rewarded or in doubt.
    """
    sets = [one for one in read_result_sets(folder) if _was_rewarded(one)]
    data = sorted({one.meta.data for one in sets})
    if not sets:
        raise ConfigError(f"--from {folder}: no step in it has a reward: give a run of rsd")
    if len(data) > 1:
        raise ConfigError(f"--from {folder} holds several data sets ({', '.join(data)}): give one")
    found: dict[tuple[str, tuple[str, ...]], Candidate] = {}
    for candidate in (c for one in sets for record in one.records for c in candidates(record)):
        known = found.get((candidate.problem, candidate.steps))
        if known is None or known.distance < candidate.distance:
            found[candidate.problem, candidate.steps] = candidate
    ordered = sorted(found.values(), key=lambda c: (-c.distance, c.problem, c.steps))
    chosen = [candidate for candidate in ordered[:count] if candidate.distance >= LEAST]
    if not chosen:
        raise ConfigError(
            f"--from {folder}: its reward model was sure of every step, and right in the end: "
            "there is nothing to learn from it; evaluate on other problems"
        )
    by_problem: defaultdict[str, list[Sampled]] = defaultdict(list)
    for one in chosen:
        own = by_problem[one.problem]
        own.append(Sampled(len(own), Role.DRAFT, 0.0, one.steps, 0, one.ended, one.right, Ledger()))
    solutions = {id: tuple(own) for id, own in by_problem.items()}
    key = digest([[one.problem, *one.steps] for one in chosen])
    return Selection(data[0], solutions, key, len(found))


def candidates(record: Mapping[str, Any]) -> Iterable[Candidate]:
    """What one answer of an evaluation offers: itself, and each draft that was rejected."""
    problem, before = str(record["id"]), list[str]()
    rewards = list[float]()
    for step in record["steps"]:
        for draft in step["rejected"]:
            if draft["reward"] is not None and draft["finish_reason"] in WHOLE:
                doubt = 0.5 - abs(draft["reward"] - 0.5)
                steps = (*before, draft["text"])
                yield Candidate(doubt, problem, steps, ended=False, right=None)
        if step["accepted"] and step["reward"] is not None:
            rewards.append(step["reward"])
        before.append(step["text"])
    grade: Mapping[str, Any] | None = record.get("grade")
    if rewards and grade is not None and record["error"] is None:
        right, ended = bool(grade["correct"]), record["stop_reason"] == "eos"
        distance = abs(float(right) - min(rewards))
        yield Candidate(distance, problem, tuple(before), ended=ended, right=right)


def _was_rewarded(one: ResultSet) -> bool:
    steps: Sequence[Mapping[str, Any]] = [s for record in one.records for s in record["steps"]]
    return any(step["reward"] is not None or step["rejected"] for step in steps)
