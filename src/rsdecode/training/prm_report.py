"""Reward models side by side on labelled steps: measures, tables and pictures."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

from rsdecode.core.errors import ConfigError
from rsdecode.results.stats import Interval
from rsdecode.training.measures import (
    FirstErrors,
    ScoredStep,
    accuracy,
    area,
    best_threshold,
    calibration_error,
    first_errors,
    reliability,
    resampled,
)
from rsdecode.training.scoring import Scores

PLACES = 12
"""Steps of a solution that are shown one by one; later ones together."""


class Measured(NamedTuple):
    """What one reward model is worth on the data.

    Attributes:
        roc: area under the ROC curve, of steps up to the first wrong one.
        errors: first errors at `threshold`.
        best: the threshold with the best F1, found on the same data.
        by_place: area under ROC by the step's place, with how many steps there are.
        by_kind: F1 of first errors by the kind of error.
    """

    scores: Scores
    threshold: float
    roc: Interval | None
    accuracy: Interval
    errors: FirstErrors
    best: float
    best_errors: FirstErrors
    calibration_error: float
    by_place: list[tuple[str, int, int, float | None]]
    by_kind: dict[str, tuple[int, float | None]]

    def as_record(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "reward": self.scores.name,
            "solutions": len({step.solution for step in self.scores.every}),
            "steps": len(self.scores.steps),
            "wrong_steps": sum(not step.right for step in self.scores.steps),
            "failed": self.scores.failed,
            "area_under_roc": _record(self.roc),
            "threshold": self.threshold,
            "accuracy": _record(self.accuracy),
            "first_errors": _errors(self.errors),
            "best_threshold": self.best,
            "first_errors_at_best": _errors(self.best_errors),
            "calibration_error": self.calibration_error,
            "reliability": [
                {"low": b.low, "high": b.high, "steps": b.steps, "mean": b.mean, "right": b.right}
                for b in reliability(self.scores.steps)
            ],
            "by_place": [
                {"place": place, "steps": count, "wrong": wrong, "area_under_roc": value}
                for place, count, wrong, value in self.by_place
            ],
            "by_kind": {
                kind: {"solutions": count, "f1": value}
                for kind, (count, value) in self.by_kind.items()
            },
        }


def measure(scores: Scores, threshold: float) -> Measured:
    """All measures of one reward model.

    Raises:
        ConfigError: it scored nothing.
    """
    if not scores.steps:
        why = f": {scores.reason}" if scores.reason else ""
        raise ConfigError(f"{scores.name} scored no step{why}")
    best = best_threshold(scores.every)
    return Measured(
        scores=scores,
        threshold=threshold,
        roc=resampled(scores.steps, area),
        accuracy=accuracy(scores.steps, threshold),
        errors=first_errors(scores.every, threshold),
        best=best,
        best_errors=first_errors(scores.every, best),
        calibration_error=calibration_error(scores.steps),
        by_place=_by_place(scores.steps),
        by_kind=_by_kind(scores.every, threshold),
    )


def _by_place(steps: Sequence[ScoredStep]) -> list[tuple[str, int, int, float | None]]:
    groups: defaultdict[int, list[ScoredStep]] = defaultdict(list)
    for step in steps:
        groups[min(step.place, PLACES)].append(step)
    return [
        (
            f"{place + 1}" if place < PLACES else f"{PLACES + 1} and later",
            len(own),
            sum(not step.right for step in own),
            area(own),
        )
        for place, own in sorted(groups.items())
    ]


def _by_kind(steps: Sequence[ScoredStep], threshold: float) -> dict[str, tuple[int, float | None]]:
    groups: defaultdict[str, list[ScoredStep]] = defaultdict(list)
    for step in steps:
        if step.kind is not None:
            groups[step.kind].append(step)
    found: dict[str, tuple[int, float | None]] = {}
    for kind, own in sorted(groups.items()):
        errors = first_errors(own, threshold)
        share = None if errors.wrong is None else errors.wrong.estimate
        found[kind] = len({step.solution for step in own}), share
    return found


class TableOf(NamedTuple):
    """A table: the first row holds the names of the columns."""

    title: str
    rows: list[list[str]]
    note: str


def tables(measured: Sequence[Measured]) -> list[TableOf]:
    """All tables."""
    main = [["reward model", "area under ROC", f"accuracy at {measured[0].threshold:g}",
             "first errors: F1", "of wrong", "of right", "best F1 (threshold)",
             "calibration error", "steps, wrong"]]  # fmt: skip
    for one in measured:
        wrong = sum(not step.right for step in one.scores.steps)
        main.append([
            one.scores.name, _text(one.roc), _text(one.accuracy), _number(one.errors.f1),
            _text(one.errors.wrong), _text(one.errors.right),
            f"{_number(one.best_errors.f1)} ({one.best:g})", _number(one.calibration_error),
            f"{len(one.scores.steps):,}, {wrong:,}",
        ])  # fmt: skip
    found = [
        TableOf(
            "Reward models",
            main,
            "Steps up to the first wrong one of each solution; intervals are 95 %, by problem. F1: "
            "as in ProcessBench, the harmonic mean of the share of solutions with an error whose "
            "first wrong step is the first below the threshold, and of those without one in which "
            "no step is below it. The best threshold is found on these solutions.",
        )
    ]
    by_place = [["step", "steps", "wrong", *(one.scores.name for one in measured)]]
    known = {
        place: [place, f"{count:,}", f"{wrong:,}"]
        for place, count, wrong, _ in measured[0].by_place
    }
    for one in measured:
        values = {place: value for place, _, _, value in one.by_place}
        for place, row in known.items():
            row.append(_number(values.get(place)))
    found.append(TableOf("Area under ROC by the step's place", by_place + list(known.values()), ""))
    if kinds := sorted({kind for one in measured for kind in one.by_kind}):
        rows = [["kind of error", "solutions", *(one.scores.name for one in measured)]]
        for kind in kinds:
            count = max(one.by_kind.get(kind, (0, None))[0] for one in measured)
            own = (one.by_kind.get(kind, (0, None))[1] for one in measured)
            rows.append([kind, f"{count:,}", *map(_number, own)])
        found.append(TableOf("First wrong step found, by kind of error", rows, ""))
    return found


def pictures(measured: Sequence[Measured]) -> dict[str, str]:
    """Reliability and area by place as SVG, by name; none where matplotlib is not installed."""
    from rsdecode.evals.report.drawing import MUTED, OTHERS, draw, require_matplotlib

    try:
        require_matplotlib()
    except ConfigError:
        return {}
    colours = [OTHERS[at % len(OTHERS)] for at in range(len(measured))]

    def honest(axes: Any) -> None:
        axes.plot([0, 1], [0, 1], ":", color=MUTED, linewidth=1)
        for one, colour in zip(measured, colours, strict=True):
            bins = reliability(one.scores.steps)
            axes.plot([b.mean for b in bins], [b.right for b in bins], "o-", color=colour,
                      markersize=4, label=one.scores.name)  # fmt: skip
        axes.set_xlabel("mean score")
        axes.set_ylabel("share of steps that are right")
        axes.legend()

    def places(axes: Any) -> None:
        for one, colour in zip(measured, colours, strict=True):
            known = [(at, value) for at, (_, _, _, value) in enumerate(one.by_place, start=1)
                     if value is not None]  # fmt: skip
            if known:
                axes.plot(*zip(*known, strict=True), "o-", color=colour, markersize=4,
                          label=one.scores.name)  # fmt: skip
        axes.set_xlabel("step of the solution")
        axes.set_ylabel("area under ROC")
        axes.legend()

    return {"reliability": draw(honest), "by-place": draw(places)}


def _record(interval: Interval | None) -> dict[str, float] | None:
    return None if interval is None else interval._asdict()


def _errors(errors: FirstErrors) -> dict[str, Any]:
    return {"f1": errors.f1, "wrong": _record(errors.wrong), "right": _record(errors.right)}


def _text(interval: Interval | None) -> str:
    if interval is None:
        return "-"
    return f"{interval.estimate:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
