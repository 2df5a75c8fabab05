"""What a report says, before it has a form: every number, by data set and method."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rsdecode import __version__
from rsdecode.config.method_names import parse_method_name
from rsdecode.core.counted import counted
from rsdecode.core.errors import ConfigError
from rsdecode.evals.report.paper import PaperFigure, kind_of, paper_figures
from rsdecode.evals.report.patterns import Patterns, patterns
from rsdecode.results.comparison import ComparedMethod, Comparison, compare_methods
from rsdecode.results.store import ResultSet, merge_result_sets, read_result_sets
from rsdecode.results.summary import Summary

ORDER = ("draft", "target", "speculative", "majority", "best-of", "process-best-of", "beam", "rsd")
"""Kinds of methods, as tables show them; others follow."""


@dataclass(frozen=True, slots=True)
class MethodRow:
    """One method on one data set.

    Attributes:
        label: the method's name; with its key where a name stands for several runs.
        compared: its answers, their numbers, and the target's beside them.
        patterns: what its steps show.
        paper: what the paper's Table 2 has for it.
    """

    label: str
    compared: ComparedMethod
    patterns: Patterns
    paper: Sequence[PaperFigure]

    @property
    def result_set(self) -> ResultSet:
        """The answers."""
        return self.compared.result_set

    @property
    def summary(self) -> Summary:
        """The numbers."""
        return self.compared.summary

    @property
    def to_target(self) -> Comparison | None:
        """Against the target alone; None where there is nothing to compare."""
        return self.compared.to_target

    @property
    def relative_flops(self) -> Mapping[str, float | None]:
        """Per answer, by rule, in units of the target's."""
        return self.compared.relative_flops

    @property
    def expected(self) -> int:
        """Answers that the run was asked for."""
        samples = self.result_set.meta.config.get("run", {}).get("samples", 1)
        return self.result_set.meta.problems * samples

    @property
    def threshold(self) -> float | None:
        """Of RSD with the step weighting; None for any other method."""
        name, config = self.result_set.meta.method, self.result_set.meta.config
        if kind_of(name) != "rsd":
            return None
        named = parse_method_name(name)
        own: Mapping[str, Any] = named.options
        options: Mapping[str, Any] = {**config["weighting"], **own}
        kind = own.get("weighting", config["weighting"]["kind"])
        if kind != "step" or own.get("budget", config["budget"]) is not None:
            return None
        return float(options["threshold"] if named.number is None else named.number)

    def as_record(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            **self.compared.as_record(),
            "label": self.label,
            "expected_answers": self.expected,
            "damaged_lines": self.result_set.damaged,
            "threshold": self.threshold,
            "patterns": self.patterns.as_record(),
        }


@dataclass(frozen=True, slots=True)
class DataSetTable:
    """All methods on one data set.

    Attributes:
        target: the target alone, to which the others are compared; None without it.
    """

    data: str
    rows: Sequence[MethodRow]
    target: MethodRow | None


@dataclass(frozen=True, slots=True)
class Report:
    """All data sets.

    Attributes:
        folders: where the results were read from.
        warnings: what is incomplete, damaged or not comparable, each in one sentence.
    """

    folders: Sequence[Path]
    groups: Sequence[DataSetTable]
    warnings: Sequence[str]

    @property
    def result_sets(self) -> list[ResultSet]:
        """All results, in the order of the tables."""
        return [row.result_set for group in self.groups for row in group.rows]

    def as_record(self, *, paper: bool = False) -> dict[str, Any]:
        """A JSON object with every number.

        Args:
            paper: with the paper's numbers.
        """
        return {
            "rsdecode": __version__,
            "folders": [str(folder) for folder in self.folders],
            "warnings": list(self.warnings),
            "datasets": [
                {
                    "data": group.data,
                    "target": None if group.target is None else group.target.label,
                    "methods": [
                        row.as_record() | ({"paper": _paper_record(row)} if paper else {})
                        for row in group.rows
                    ],
                }
                for group in self.groups
            ],
        }


def read_report(folders: Sequence[Path]) -> Report:
    """Read the results of `rsd eval`; parts of one result set in several folders are put together.

    Raises:
        ConfigError: a folder holds no results, or nothing is finished yet.
    """
    parts: dict[tuple[str, str, str], list[ResultSet]] = {}
    for folder in folders:
        for result_set in read_result_sets(folder):
            parts.setdefault(
                (result_set.meta.data, result_set.meta.method, result_set.meta.key), []
            ).append(result_set)
    result_sets = [merge_result_sets(same) if len(same) > 1 else same[0] for same in parts.values()]
    begun = [result_set for result_set in result_sets if result_set.records]
    if not begun:
        raise ConfigError(f"{', '.join(map(str, folders))}: no answer is finished yet")
    warnings = [
        f"{result_set.meta.method} on {result_set.meta.data}: no answer is finished yet; left out"
        for result_set in result_sets
        if not result_set.records
    ]
    groups = [
        compare_result_sets(data, [c for c in begun if c.meta.data == data])
        for data in _datasets(begun)
    ]
    for group in groups:
        warnings += _warnings(group)
    return Report(list(folders), groups, warnings)


def _datasets(result_sets: Iterable[ResultSet]) -> list[str]:
    return list(dict.fromkeys(result_set.meta.data for result_set in result_sets))


def compare_result_sets(data: str, result_sets: Sequence[ResultSet]) -> DataSetTable:
    """The methods on one data set side by side; each has answers."""
    ordered = compare_methods(sorted(result_sets, key=_place))
    names = Counter(method.summary.method for method in ordered)
    rows = [_row(method, alone=names[method.summary.method] == 1) for method in ordered]
    return DataSetTable(data, rows, next((r for r in rows if r.summary.method == "target"), None))


def _place(result_set: ResultSet) -> tuple[int, str, str]:
    kind = kind_of(result_set.meta.method)
    place = ORDER.index(kind) if kind in ORDER else len(ORDER)
    return place, result_set.meta.method, result_set.meta.key


def _row(method: ComparedMethod, *, alone: bool) -> MethodRow:
    name, key = method.summary.method, method.summary.key
    return MethodRow(
        label=name if alone else f"{name} ({key[:6]})",
        compared=method,
        patterns=patterns(method.result_set.records),
        paper=paper_figures(method.summary.data, name),
    )


def _warnings(group: DataSetTable) -> list[str]:
    """What is wrong with a data set's results; methods with the same trouble share a sentence."""
    troubled: dict[str, list[str]] = {}
    for row in group.rows:
        for trouble in _troubles(row):
            troubled.setdefault(trouble, []).append(row.label)
    found = [
        f"{', '.join(labels)} on {group.data}: {trouble}" for trouble, labels in troubled.items()
    ]
    if group.target is None:
        found.append(f"{group.data}: without the method target nothing can be compared with it")
    elif sum(row.result_set.meta.method == "target" for row in group.rows) > 1:
        found.append(f"{group.data}: several targets; the others are compared with the first")
    return found


def _troubles(row: MethodRow) -> Iterator[str]:
    if row.summary.failed:
        yield f"every request failed, so there is no accuracy: {row.summary.failed}"
    answers, damaged = row.summary.answers, row.result_set.damaged
    failed = round(row.summary.failure_rate * answers)
    if answers < row.expected:
        yield f"{answers} of {counted(row.expected, 'answer')}; the same rsd eval goes on with it"
    if failed:
        yield f"{failed} of {counted(answers, 'answer')} failed; the same rsd eval tries them again"
    if damaged:
        lines = "1 damaged line is" if damaged == 1 else f"{damaged} damaged lines are"
        yield f"{lines} left out; the same rsd eval solves them again"
    if row.to_target is not None and row.to_target.pairs < answers:
        yield f"compared with the target on {row.to_target.pairs} of {counted(answers, 'answer')}"


def _paper_record(row: MethodRow) -> list[dict[str, Any]]:
    return [
        {"method": f.method, "models": f.models, "accuracy": f.accuracy / 100} for f in row.paper
    ]
