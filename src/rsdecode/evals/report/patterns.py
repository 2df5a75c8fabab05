"""What the stored steps of a method show: rewards by outcome, acceptance by step, who wrote where.

Everything is counted from the stored records; nothing is drawn here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rsdecode.core.types import Role
from rsdecode.results.stats import Interval, clustered_share

REWARD_BINS = 20
POSITION_BINS = 20
MAX_STEPS_SHOWN = 40

Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Rewards:
    """Histograms of rewards over `REWARD_BINS` equal bins of [0, 1]; the last one holds 1 itself.

    Attributes:
        right: rewards of the steps of answers that are right.
        wrong: of those that are wrong.
        accepted: rewards of drafts that entered the answer.
        rejected: of drafts that the target replaced.
    """

    right: tuple[int, ...]
    wrong: tuple[int, ...]
    accepted: tuple[int, ...]
    rejected: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Patterns:
    """What the steps of one method show.

    Attributes:
        rewards: None where no reward model scored a step.
        steps: for each step index, how many answers had such a step that was decided on.
        accepted: for each step index, in how many of them the draft's step was kept.
        acceptance: for each step index, the share of drafts that were kept (estimate, low and high)
            with an interval by problem; None for an index without a decision.
        draft_share: along the answer (`POSITION_BINS` equal parts by characters), the share that
            the draft wrote, averaged over the answers; empty where no answer has any text.
    """

    rewards: Rewards | None
    steps: tuple[int, ...]
    accepted: tuple[int, ...]
    acceptance: tuple[Interval | None, ...]
    draft_share: tuple[float, ...]

    def as_record(self) -> dict[str, Any]:
        """A JSON object."""
        return asdict(self)


def patterns(records: Sequence[Record]) -> Patterns:
    """Count them."""
    by_step = _decisions(records)
    return Patterns(
        rewards=_rewards(records),
        steps=tuple(sum(whole for _, whole in clusters) for clusters in by_step),
        accepted=tuple(sum(part for part, _ in clusters) for clusters in by_step),
        acceptance=tuple(clustered_share(clusters) if clusters else None for clusters in by_step),
        draft_share=_draft_share(records),
    )


def reward_bin(reward: float) -> int:
    """The bin of a reward in [0, 1]."""
    return min(int(reward * REWARD_BINS), REWARD_BINS - 1)


def decided(record: Record) -> Iterator[Mapping[str, Any]]:
    """The steps at which a draft was held against a weighting function."""
    return (step for step in record["steps"] if step["weight"] is not None)


def _rewards(records: Sequence[Record]) -> Rewards | None:
    outcomes = {name: [0] * REWARD_BINS for name in ("right", "wrong", "accepted", "rejected")}
    for record in records:
        verdict = "right" if record["grade"]["correct"] else "wrong"
        for step in record["steps"]:
            if step["reward"] is None:
                continue
            place = reward_bin(step["reward"])
            outcomes[verdict][place] += 1
            if step["weight"] is not None:
                outcomes["accepted" if step["accepted"] else "rejected"][place] += 1
    if not any(map(any, outcomes.values())):
        return None
    return Rewards(**{name: tuple(counts) for name, counts in outcomes.items()})


def _decisions(records: Sequence[Record]) -> list[list[tuple[int, int]]]:
    """For each step index, by problem: drafts that were kept, and drafts that were decided on."""
    by_step: list[dict[str, tuple[int, int]]] = [{} for _ in range(MAX_STEPS_SHOWN)]
    for record in records:
        for step, problems in zip(record["steps"], by_step, strict=False):
            if step["weight"] is not None:
                kept, all_ = problems.get(record["id"], (0, 0))
                problems[record["id"]] = kept + bool(step["accepted"]), all_ + 1
    length = max((i + 1 for i, problems in enumerate(by_step) if problems), default=0)
    return [list(problems.values()) for problems in by_step[:length]]


def _draft_share(records: Sequence[Record]) -> tuple[float, ...]:
    written = [record["steps"] for record in records if any(s["text"] for s in record["steps"])]
    if not written:
        return ()
    totals = [0.0] * POSITION_BINS
    for steps in written:
        for place, share in enumerate(_draft_share_of(steps)):
            totals[place] += share
    return tuple(total / len(written) for total in totals)


def _draft_share_of(steps: Sequence[Mapping[str, Any]]) -> list[float]:
    """Of one answer: each bin's share of characters that lie in steps of the draft."""
    length = sum(len(step["text"]) for step in steps)
    shares, start = [0.0] * POSITION_BINS, 0
    for step in steps:
        end = start + len(step["text"])
        if step["source"] == Role.DRAFT:
            for place in range(POSITION_BINS):
                low, high = place * length / POSITION_BINS, (place + 1) * length / POSITION_BINS
                overlap = min(end, high) - max(start, low)
                shares[place] += max(overlap, 0.0) / (high - low)
        start = end
    return shares
