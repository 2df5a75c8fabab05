"""What labelling costs: an upper bound at first, an estimate after the first problems."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rsdecode.core.counted import counted
from rsdecode.training.label_settings import LabelSettings


@dataclass(slots=True)
class LabelTally:
    """Adds up what records cost and hold.

    Attributes:
        solutions: records, those that were left out included.
        graded: of them, those that were graded.
        right: of those, the ones with the right answer.
        tokens: decoded, by draft and target.
        read: by the reward that labels.
        flops: by the paper's rule; None where a model's shape is not known.
    """

    problems: set[str] = field(default_factory=set[str])
    solutions: int = 0
    graded: int = 0
    right: int = 0
    steps: int = 0
    wrong_steps: int = 0
    completions: int = 0
    tokens: int = 0
    read: int = 0
    flops: float | None = 0.0
    failed: int = 0

    def add(self, record: Mapping[str, Any]) -> None:
        """Count a record."""
        self.problems.add(record["id"])
        if record["error"] is not None:
            self.failed += 1
        self.solutions += 1
        self.graded += record["right"] is not None
        self.right += bool(record["right"])
        self.steps += len(record["labels"])
        self.wrong_steps += sum(not right for right in record["labels"])
        self.completions += record["written"]
        self.tokens += sum(record["usage"][role]["decoded_tokens"] for role in ("draft", "target"))
        self.read += record["usage"]["reward"]["prefill_tokens"]
        cost = record["flops"]["paper"]
        self.flops = None if cost is None or self.flops is None else self.flops + cost

    @classmethod
    def of(cls, records: Iterable[Mapping[str, Any]]) -> LabelTally:
        """Of records that are there."""
        tally = cls()
        for record in records:
            tally.add(record)
        return tally


def most_completions(settings: LabelSettings, problems: int, solutions: int) -> str:
    """The upper bound, in words."""
    text = f"{counted(problems, 'problem')}, at most {counted(solutions, 'solution')}"
    if not settings.searches:
        return text
    steps = "every step" if settings.method == "rollouts" else "the steps that the search looks at"
    return f"{text}; from {steps}, at most {counted(settings.completions, 'completion')}"


def estimate(tally: LabelTally, seconds: float, problems: int) -> str:
    """What `problems` will cost if they are like those of the tally, in words."""
    share = problems / max(1, len(tally.problems))
    parts = [
        *([counted(round(share * tally.completions), "completion")] if tally.completions else []),
        f"{counted(round(share * tally.tokens), 'token')} written",
        *([f"{counted(round(share * tally.read), 'token')} read by the reward"] * bool(tally.read)),
        *([] if tally.flops is None else [f"{share * tally.flops:.1e} FLOPs"]),
        duration(share * seconds),
    ]
    return f"left to label: {counted(problems, 'problem')}; estimate: {', '.join(parts)}"


def duration(seconds: float) -> str:
    """`40 seconds`, `12 minutes`, `3.5 hours`."""
    if seconds < 90:
        return counted(round(seconds), "second")
    if seconds < 5400:
        return counted(round(seconds / 60), "minute")
    return f"{seconds / 3600:.1f} hours"
