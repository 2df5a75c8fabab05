"""What the stored answers of a method come to: accuracy, acceptance, cost, latency."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from rsdecode.core.cost import Flops, ModelShape, flops
from rsdecode.core.types import FinishReason, Ledger, Role, Usage
from rsdecode.results.lines import Key, is_retried
from rsdecode.results.stats import Interval, clustered_share, percentile
from rsdecode.results.store import ResultSet

TRUNCATED = (FinishReason.LENGTH, FinishReason.MAX_STEPS, FinishReason.REPEATED)
Record = Mapping[str, Any]


class Latency(NamedTuple):
    """Seconds from a problem's start to its end; problems in flight share the models."""

    p50: float
    p90: float
    p99: float


class ThoughtShare(NamedTuple):
    """What the thoughts of a method come to.

    Attributes:
        tokens: share of the written tokens that are thoughts.
        budget: share of answers whose thoughts were closed when their budget was used up.
        repeated: share of answers whose thoughts were closed because they repeated themselves.
    """

    tokens: float
    budget: float
    repeated: float


@dataclass(frozen=True, slots=True)
class Summary:
    """The numbers of one result set. All come from its lines and from its models' shapes.

    Attributes:
        problems: how many have an answer.
        answers: how many there are, all samples of a problem counted.
        correct: right ones among them.
        accuracy: share of right answers, with an interval by problem: Wilson's where each problem
            has one sample, and for the effective number of trials where it has several.
        acceptance_rate: share of steps that the draft wrote, of those that were decided by a
            reward; None without such steps.
        token_acceptance_rate: the same share of the tokens of those steps; where the target
            verified single tokens, the share of those that it accepted.
        draft_alone: share of answers that are right and that the draft wrote from start to end.
        truncation_rate: share of answers that reached a limit; never right.
        failure_rate: share that ended with an error or were cancelled; the next run tries again.
        usage: of all answers together.
        flops_by_role: None where a model's shape is not known.
        latency: of single answers.
        seconds: wall time of the runs that made them (the sum, of shards).
        thoughts: None where no step is one of thoughts.
        failed: why, where every answer ended with an error, the most frequent reason; there is no
            accuracy then.
    """

    data: str
    method: str
    key: str
    problems: int
    answers: int
    correct: int
    accuracy: Interval
    acceptance_rate: float | None
    token_acceptance_rate: float | None
    draft_alone: float
    truncation_rate: float
    failure_rate: float
    usage: Ledger
    flops: Flops
    flops_by_role: Mapping[Role, Flops]
    latency: Latency
    seconds: float
    thoughts: ThoughtShare | None = None
    failed: str | None = None

    @property
    def tokens(self) -> dict[str, int]:
        """Tokens written by draft and target, tokens read (or written, by a judge) for rewards."""
        reward = self.usage.reward
        return {
            Role.DRAFT.value: self.usage.draft.decoded_tokens,
            Role.TARGET.value: self.usage.target.decoded_tokens,
            Role.REWARD.value: reward.prefill_tokens + reward.decoded_tokens,
        }

    def as_record(self) -> dict[str, Any]:
        """A JSON object; what `rsd demo --json` prints of a method, and more."""
        by_role = {role.value: _flops_record(cost) for role, cost in self.flops_by_role.items()}
        return {
            "data": self.data,
            "method": self.method,
            "key": self.key,
            "problems": self.problems,
            "answers": self.answers,
            "correct": self.correct,
            "accuracy": None if self.failed else self.accuracy.estimate,
            "accuracy_low": None if self.failed else self.accuracy.low,
            "accuracy_high": None if self.failed else self.accuracy.high,
            "acceptance_rate": self.acceptance_rate,
            "token_acceptance_rate": self.token_acceptance_rate,
            "draft_alone": self.draft_alone,
            "truncation_rate": self.truncation_rate,
            "failure_rate": self.failure_rate,
            "tokens": self.tokens,
            "flops": _flops_record(self.flops),
            "flops_by_role": by_role,
            "latency": self.latency._asdict(),
            "seconds": self.seconds,
            **({} if self.thoughts is None else {"thoughts": self.thoughts._asdict()}),
            "failed": self.failed,
        }


def summarise(result_set: ResultSet) -> Summary:
    """Sum up the answers of one method to one data set.

    Raises:
        ValueError: it has no answers yet.
    """
    records = result_set.records
    if not records:
        raise ValueError(
            f"there are no answers of {result_set.meta.method} to {result_set.meta.data} yet"
        )
    right = [is_right(record) for record in records]
    problems = count_by_problem(records, right)
    decided = [s for record in records for s in record["steps"] if s["weight"] is not None]
    usage = sum(map(read_ledger, records), Ledger())
    shapes = read_shapes(result_set.meta.shapes)
    seconds = sorted(float(record["seconds"]) for record in records)
    return Summary(
        data=result_set.meta.data,
        method=result_set.meta.method,
        key=result_set.meta.key,
        problems=len(problems),
        answers=len(records),
        correct=sum(right),
        accuracy=clustered_share(problems),
        acceptance_rate=_share(decided, [1] * len(decided)),
        token_acceptance_rate=_token_acceptance(usage, decided),
        draft_alone=_mean(ok and by_draft(r) for ok, r in zip(right, records, strict=True)),
        truncation_rate=_mean(record["stop_reason"] in TRUNCATED for record in records),
        failure_rate=_mean(is_retried(record) for record in records),
        usage=usage,
        flops=flops(usage, shapes),
        flops_by_role={r: flops(Ledger().charge(r, usage.of(r)), shapes) for r in Role},
        latency=Latency(*(percentile(seconds, p) for p in (50, 90, 99))),
        seconds=math.fsum(record["elapsed"] for record in records),
        thoughts=_thoughts(records),
        failed=failure_of(records),
    )


def _thoughts(records: Sequence[Record]) -> ThoughtShare | None:
    steps = [step for record in records for step in record["steps"]]
    thoughts = sum(step["tokens"] for step in steps if step.get("thought"))
    if not any(step.get("thought") for step in steps):
        return None

    def closed(reason: FinishReason) -> float:
        return _mean(
            any(s.get("thought") and s["finish_reason"] == reason for s in record["steps"])
            for record in records
        )

    whole = sum(step["tokens"] for step in steps)
    return ThoughtShare(
        thoughts / whole if whole else 0.0,
        closed(FinishReason.BUDGET),
        closed(FinishReason.REPEATED),
    )


def failure_of(records: Sequence[Record]) -> str | None:
    """The most frequent reason, where every answer ended with an error; else None."""
    if any(record["stop_reason"] != FinishReason.ERROR for record in records):
        return None
    reasons = Counter(str(record.get("error") or "a request failed") for record in records)
    return next((reason for reason, _ in reasons.most_common(1)), None)


def count_by_problem(records: Sequence[Record], counted: Sequence[bool]) -> list[tuple[int, int]]:
    """How many answers of each problem are counted, and how many there are."""
    counts: dict[str, tuple[int, int]] = {}
    for record, value in zip(records, counted, strict=True):
        part, whole = counts.get(record["id"], (0, 0))
        counts[record["id"]] = part + value, whole + 1
    return list(counts.values())


def verdicts(result_set: ResultSet) -> dict[Key, bool]:
    """Whether each answer is right."""
    return {(r["id"], r["sample"]): is_right(r) for r in result_set.records}


def is_right(record: Record) -> bool:
    """Whether the stored verdict is that the answer is right."""
    return bool(record["grade"]["correct"])


def by_draft(record: Record) -> bool:
    """Whether the draft wrote every step."""
    return all(step["source"] == Role.DRAFT for step in record["steps"])


def read_ledger(record: Record) -> Ledger:
    """The usage of a stored answer."""
    known = {field.name for field in fields(Usage)}
    usage = {
        role: Usage(**{name: value for name, value in counts.items() if name in known})
        for role, counts in record["usage"].items()
    }
    return Ledger(**usage)


def read_shapes(shapes: Mapping[str, Record | None]) -> dict[Role, ModelShape | None]:
    """The shapes of the models by role, as they are stored."""
    return {
        Role(role): None if shape is None else ModelShape(**shape) for role, shape in shapes.items()
    }


def _token_acceptance(usage: Ledger, decided: Sequence[Record]) -> float | None:
    """The accepted share of the tokens of decided steps, or else of verified tokens."""
    if not decided and (verified := usage.target.verified_tokens):
        return usage.target.accepted_tokens / verified
    return _share(decided, [int(step["tokens"]) for step in decided])


def _share(steps: Sequence[Record], weights: Sequence[int]) -> float | None:
    """Of the weight of all steps, that of the accepted ones."""
    accepted = sum(w for step, w in zip(steps, weights, strict=True) if step["accepted"])
    total = sum(weights)
    return accepted / total if total else None


def _mean(values: Iterable[bool]) -> float:
    listed = list(values)
    return sum(listed) / len(listed)


def _flops_record(cost: Flops) -> dict[str, float | None]:
    return {"paper": cost.paper, "exact": cost.exact}
