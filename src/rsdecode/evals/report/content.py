"""What a report says, before it has a form: every number, by data set and method."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rsdecode import __version__
from rsdecode.config.method_names import parse_method_name
from rsdecode.core.errors import ConfigError
from rsdecode.evals.report.paper import PaperFigure, kind_of, paper_figures
from rsdecode.evals.report.patterns import Patterns, patterns
from rsdecode.results.store import ResultSet, merge_result_sets, read_result_sets
from rsdecode.results.summary import Comparison, Summary, compare, summarise

ORDER = ("draft", "target", "speculative", "majority", "best-of", "process-best-of", "beam", "rsd")
"""Kinds of methods, as tables show them; others follow."""


@dataclass(frozen=True, slots=True)
class MethodRow:
    """One method on one data set.

    Attributes:
        label: the method's name; with its key where a name stands for several runs.
        to_target: against the target alone; None where there is nothing to compare.
        paper: what the paper's Table 2 has for it.
    """

    label: str
    cell: ResultSet
    summary: Summary
    patterns: Patterns
    to_target: Comparison | None
    relative_flops: Mapping[str, float | None]
    paper: Sequence[PaperFigure]

    @property
    def expected(self) -> int:
        """Answers that the run was asked for."""
        samples = self.cell.meta.config.get("run", {}).get("samples", 1)
        return self.cell.meta.problems * samples

    @property
    def threshold(self) -> float | None:
        """Of RSD with the step weighting; None for any other method."""
        name, config = self.cell.meta.method, self.cell.meta.config
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
            **self.summary.as_record(),
            "label": self.label,
            "expected_answers": self.expected,
            "damaged_lines": self.cell.damaged,
            "threshold": self.threshold,
            "to_target": None if self.to_target is None else self.to_target.as_record(),
            "relative_flops": dict(self.relative_flops),
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
    def cells(self) -> list[ResultSet]:
        """All cells, in the order of the tables."""
        return [row.cell for group in self.groups for row in group.rows]

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
    """Read the results of `rsd eval`; parts of one cell in several folders are put together.

    Raises:
        ConfigError: a folder holds no results, or nothing is finished yet.
    """
    parts: dict[tuple[str, str, str], list[ResultSet]] = {}
    for folder in folders:
        for cell in read_result_sets(folder):
            parts.setdefault((cell.meta.data, cell.meta.method, cell.meta.key), []).append(cell)
    cells = [merge_result_sets(same) if len(same) > 1 else same[0] for same in parts.values()]
    begun = [cell for cell in cells if cell.records]
    if not begun:
        raise ConfigError(f"{', '.join(map(str, folders))}: no answer is finished yet")
    warnings = [
        f"{cell.meta.method} on {cell.meta.data}: no answer is finished yet; left out"
        for cell in cells
        if not cell.records
    ]
    groups = [
        compare_result_sets(data, [c for c in begun if c.meta.data == data])
        for data in _datasets(begun)
    ]
    for group in groups:
        warnings += _warnings(group)
    return Report(list(folders), groups, warnings)


def _datasets(cells: Iterable[ResultSet]) -> list[str]:
    return list(dict.fromkeys(cell.meta.data for cell in cells))


def compare_result_sets(data: str, cells: Sequence[ResultSet]) -> DataSetTable:
    """The methods on one data set side by side; each cell has answers."""
    ordered = sorted(cells, key=_place)
    target = next((cell for cell in ordered if cell.meta.method == "target"), None)
    unit = None if target is None else summarise(target)
    rows = [_row(cell, ordered, target, unit) for cell in ordered]
    return DataSetTable(data, rows, next((row for row in rows if row.cell is target), None))


def _place(cell: ResultSet) -> tuple[int, str, str]:
    kind = kind_of(cell.meta.method)
    place = ORDER.index(kind) if kind in ORDER else len(ORDER)
    return place, cell.meta.method, cell.meta.key


def _row(
    cell: ResultSet, cells: Sequence[ResultSet], target: ResultSet | None, unit: Summary | None
) -> MethodRow:
    name = cell.meta.method
    alone = sum(other.meta.method == name for other in cells) == 1
    summary = summarise(cell)
    per_answer = _per_answer(summary)
    unit_per_answer = _per_answer(unit) if unit is not None else {}
    return MethodRow(
        label=name if alone else f"{name} ({cell.meta.key[:6]})",
        cell=cell,
        summary=summary,
        patterns=patterns(cell.records),
        to_target=None if target is None or cell is target else compare(cell, target),
        relative_flops={
            rule: _ratio(flops, unit_per_answer.get(rule)) for rule, flops in per_answer.items()
        },
        paper=paper_figures(cell.meta.data, name),
    )


def _per_answer(summary: Summary) -> dict[str, float | None]:
    """So that a cell of which some answers are missing can still be compared."""
    flops = {"paper": summary.flops.paper, "exact": summary.flops.exact}
    return {
        rule: None if value is None else value / summary.answers for rule, value in flops.items()
    }


def _ratio(value: float | None, unit: float | None) -> float | None:
    return value / unit if value is not None and unit else None


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
    elif sum(row.cell.meta.method == "target" for row in group.rows) > 1:
        found.append(f"{group.data}: several targets; the others are compared with the first")
    return found


def _troubles(row: MethodRow) -> Iterator[str]:
    answers, damaged = row.summary.answers, row.cell.damaged
    failed = round(row.summary.failure_rate * answers)
    if answers < row.expected:
        yield f"{answers} of {row.expected} answers; the same rsd eval goes on with it"
    if failed:
        yield f"{failed} of {answers} answers failed; the same rsd eval tries them again"
    if damaged:
        lines = "1 damaged line is" if damaged == 1 else f"{damaged} damaged lines are"
        yield f"{lines} left out; the same rsd eval solves them again"
    if row.to_target is not None and row.to_target.pairs < answers:
        yield f"compared with the target on {row.to_target.pairs} of {answers} answers"


def _paper_record(row: MethodRow) -> list[dict[str, Any]]:
    return [
        {"method": f.method, "models": f.models, "accuracy": f.accuracy / 100} for f in row.paper
    ]
