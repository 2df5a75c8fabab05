"""Methods side by side on one data set, each beside the target alone: the one comparison of all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rsdecode.results.stats import Interval, paired_difference, paired_p_value
from rsdecode.results.store import ResultSet
from rsdecode.results.summary import Summary, failure_of, summarise, verdicts


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two methods on the problems that both have answered.

    Attributes:
        pairs: answers (problem and sample) that both have.
        problems: how many they belong to.
        won: pairs that only `ours` has right.
        lost: pairs that only `theirs` has right.
        difference: of the accuracies, ours minus theirs, with a paired interval by problem.
        p_value: that neither is better, of a test by problem: McNemar's exact one where each
            problem has one pair, and a sign-flip test where it has several.
    """

    ours: str
    theirs: str
    pairs: int
    problems: int
    won: int
    lost: int
    difference: Interval
    p_value: float

    def as_record(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "ours": self.ours,
            "theirs": self.theirs,
            "pairs": self.pairs,
            "problems": self.problems,
            "won": self.won,
            "lost": self.lost,
            "difference": self.difference._asdict(),
            "p_value": self.p_value,
        }


@dataclass(frozen=True, slots=True)
class ComparedMethod:
    """A method's answers to a data set, their numbers, and how they compare to the target's.

    Attributes:
        to_target: None for the target itself, and where there is nothing to compare.
        relative_flops: per answer, by rule (`paper`, `exact`), in units of the target's; None where
            they are not known.
    """

    result_set: ResultSet
    summary: Summary
    to_target: Comparison | None
    relative_flops: Mapping[str, float | None]

    def as_record(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            **self.summary.as_record(),
            "to_target": None if self.to_target is None else self.to_target.as_record(),
            "relative_flops": dict(self.relative_flops),
        }


def compare_methods(result_sets: Sequence[ResultSet]) -> list[ComparedMethod]:
    """Methods on one data set, beside the target alone (the first of them, if there are any).

    Raises:
        ValueError: one has no answers yet.
    """
    summaries = [summarise(result_set) for result_set in result_sets]
    both = list(zip(result_sets, summaries, strict=True))
    target, unit = next(((r, s) for r, s in both if s.method == "target"), (None, None))
    units = {} if unit is None else _flops_per_answer(unit)
    return [
        ComparedMethod(
            result_set,
            summary,
            None if target is None or result_set is target else compare(result_set, target),
            {
                rule: _ratio(value, units.get(rule))
                for rule, value in _flops_per_answer(summary).items()
            },
        )
        for result_set, summary in both
    ]


def compare(ours: ResultSet, theirs: ResultSet) -> Comparison | None:
    """Compare two methods on the answers that both have; None if there are none.

    A method of which every request failed has no answers.
    """
    if failure_of(ours.records) or failure_of(theirs.records):
        return None
    right, their_right = verdicts(ours), verdicts(theirs)
    problems: defaultdict[str, list[int]] = defaultdict(list)
    for pair in sorted(right.keys() & their_right.keys()):
        problems[pair[0]].append(right[pair] - their_right[pair])
    differences = [value for values in problems.values() for value in values]
    if not differences:
        return None
    by_problem = list(problems.values())
    return Comparison(
        ours=ours.meta.method,
        theirs=theirs.meta.method,
        pairs=len(differences),
        problems=len(by_problem),
        won=differences.count(1),
        lost=differences.count(-1),
        difference=paired_difference(by_problem),
        p_value=paired_p_value(by_problem),
    )


def _flops_per_answer(summary: Summary) -> dict[str, float | None]:
    """So that a run of which some answers are missing can still be compared."""
    flops = {"paper": summary.flops.paper, "exact": summary.flops.exact}
    return {
        rule: None if value is None else value / summary.answers for rule, value in flops.items()
    }


def _ratio(value: float | None, unit: float | None) -> float | None:
    return value / unit if value is not None and unit else None
