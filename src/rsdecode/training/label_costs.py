"""What labelling costs: an upper bound at first, an estimate after the first problems."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

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
    text = f"{problems:,} problems, at most {solutions:,} solutions"
    if not settings.searches:
        return text
    each = "from every step" if settings.method == "rollouts" else "from every step looked at"
    return f"{text}, at most {settings.completions} completions {each}"


def estimate(tally: LabelTally, seconds: float, problems: int) -> str:
    """What `problems` will cost if they are like those of the tally, in words."""
    share = problems / max(1, len(tally.problems))
    parts = [
        *([f"{share * tally.completions:,.0f} completions"] if tally.completions else []),
        f"{share * tally.tokens:,.0f} tokens",
        *([f"{share * tally.read:,.0f} read by the reward"] if tally.read else []),
        *([] if tally.flops is None else [f"{share * tally.flops:.1e} FLOPs"]),
        f"{share * seconds / 60:.0f} minutes",
    ]
    return f"{problems:,} more problems like these: about {', '.join(parts)}"
