"""The report's pictures: what each shows, and how it is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from rsdecode.evals.report.content import DataSetTable, MethodRow
from rsdecode.evals.report.drawing import (
    DRAFT,
    INK,
    MUTED,
    OTHERS,
    RIGHT,
    RSD,
    TARGET,
    WRONG,
    Plot,
    draw,
)
from rsdecode.evals.report.patterns import POSITION_BINS, REWARD_BINS

FIXED_COLOURS = {"draft": DRAFT, "target": TARGET, "rsd": RSD}


class Picture(NamedTuple):
    """A drawing.

    Attributes:
        name: of its file, without a suffix.
        text: what it shows, in words.
        svg: the drawing.
    """

    name: str
    title: str
    text: str
    svg: str


def pictures(group: DataSetTable) -> list[Picture]:
    """All pictures of a data set that its results allow."""
    drawn = [_frontier(group), _sweep(group)]
    row = featured(group)
    if row is not None:
        drawn += [_rewards(row), _acceptance(row), _writers(row)]
    return [picture for picture in drawn if picture is not None]


def featured(group: DataSetTable) -> MethodRow | None:
    """The method whose steps are shown: plain `rsd`, else the first in which a draft was judged."""
    judged = [row for row in group.rows if row.patterns.steps]
    plain = [row for row in judged if row.result_set.meta.method == "rsd"]
    return next(iter([*plain, *judged]), None)


def swept(group: DataSetTable) -> list[MethodRow]:
    """RSD rows by threshold, each threshold once."""
    known = [row for row in group.rows if not row.summary.failed]
    rows = {row.threshold: row for row in known if row.threshold is not None}
    return [rows[threshold] for threshold in sorted(rows)]


def frontier(group: DataSetTable) -> Plot:
    """Accuracy over FLOPs of all methods whose FLOPs are known.

    RSD at several thresholds is a line, each point with its threshold.
    """
    rows = _costed(group)
    line = [row for row in swept(group) if row in rows]

    def plot(axes: Any) -> None:
        if len(line) > 1:
            x = [row.relative_flops["paper"] for row in line]
            axes.plot(x, [_accuracy(row) for row in line], color=RSD, linewidth=1.3, alpha=0.6)
        others = iter(OTHERS * len(rows))
        by_cost = [row.label for row in sorted(rows, key=_cost)]
        for row in rows:
            fixed = FIXED_COLOURS.get("rsd" if row in line else row.result_set.meta.method)
            left = by_cost.index(row.label) % 2 == 1  # neighbours' labels would overlap
            label = row.label.rpartition("@")[2] if row in line else row.label
            _point(axes, row, fixed or next(others), label, left=left)
        axes.axvline(1.0, color=MUTED, linewidth=0.8, linestyle=":")
        axes.set_xlim(left=0)
        axes.margins(x=0.12)
        by_threshold = "; RSD by threshold" if len(line) > 1 else ""
        axes.set_xlabel(f"FLOPs per answer relative to the target (paper's rule){by_threshold}")
        axes.set_ylabel("accuracy, %")

    return plot


def _costed(group: DataSetTable) -> list[MethodRow]:
    costed = (row for row in group.rows if row.relative_flops["paper"] is not None)
    return [row for row in costed if not row.summary.failed]


def _cost(row: MethodRow) -> float:
    return row.relative_flops["paper"] or 0.0


def _frontier(group: DataSetTable) -> Picture | None:
    rows = _costed(group)
    if not rows:
        return None
    best = max(rows, key=lambda row: row.summary.accuracy.estimate)
    text = (
        f"Accuracy with 95 % intervals over FLOPs relative to the target alone. Highest: "
        f"{best.label}, {_accuracy(best):.1f} % at {best.relative_flops['paper']:.2f} times "
        "the target's FLOPs."
    )
    drawn = draw(frontier(group), width=8.4, height=4.2)
    return Picture("frontier", "Accuracy over FLOPs", text, drawn)


def _point(axes: Any, row: MethodRow, colour: str, label: str, *, left: bool) -> None:
    estimate, low, high = (100 * value for value in row.summary.accuracy)
    x = row.relative_flops["paper"]
    errors = [[estimate - low], [high - estimate]]
    axes.errorbar(
        [x], [estimate], yerr=errors, fmt="o", markersize=6, capsize=2.5, color=colour, zorder=3
    )
    axes.annotate(
        label,
        (x, estimate),
        xytext=(-4, 5) if left else (4, -12),
        ha="right" if left else "left",
        textcoords="offset points",
        fontsize=8,
        color=INK,
        zorder=4,
    )


def _sweep(group: DataSetTable) -> Picture | None:
    rows = swept(group)
    if len(rows) < 2:
        return None
    thresholds = [row.threshold for row in rows]

    def plot(accuracy: Any, cost: Any) -> None:
        low = [100 * row.summary.accuracy.low for row in rows]
        high = [100 * row.summary.accuracy.high for row in rows]
        accuracy.fill_between(thresholds, low, high, color=RSD, alpha=0.18, linewidth=0)
        accuracy.plot(thresholds, [_accuracy(row) for row in rows], "o-", color=RSD, markersize=4)
        if group.target is not None:
            y = _accuracy(group.target)
            accuracy.axhline(y, color=TARGET, linestyle="--", linewidth=1.1, label="target alone")
            accuracy.legend(loc="best")
        accuracy.set_title("accuracy, %")
        calls = [100 * (1 - (row.summary.acceptance_rate or 0.0)) for row in rows]
        cost.plot(thresholds, calls, "o-", color=TARGET, markersize=4, label="steps by the target")
        flops = [row.relative_flops["paper"] for row in rows]
        if None not in flops:
            relative = [100 * (value or 0.0) for value in flops]
            cost.plot(thresholds, relative, "s-", color=INK, markersize=4, label="FLOPs of target")
        cost.set_ylim(bottom=0)
        cost.set_title("cost, %")
        cost.legend(loc="best")
        for axes in (accuracy, cost):
            axes.set_xlabel("threshold")

    text = (
        "RSD by threshold. Left: accuracy with its 95 % interval. Right: share of steps that the "
        "target wrote, and FLOPs relative to the target alone."
    )
    return Picture("sweep", "Threshold sweep", text, draw(plot, panels=2, height=2.9))


def _rewards(row: MethodRow) -> Picture | None:
    rewards = row.patterns.rewards
    if rewards is None:
        return None
    edges = [place / REWARD_BINS for place in range(REWARD_BINS)]

    def histogram(axes: Any, counts: Sequence[int], colour: str, label: str) -> None:
        total = sum(counts)
        shares = [100 * count / total if total else 0.0 for count in counts]
        axes.bar(
            edges,
            shares,
            width=1 / REWARD_BINS,
            align="edge",
            color=colour,
            alpha=0.55,
            edgecolor=colour,
            linewidth=0.8,
            label=f"{label} ({total:,})",
        )

    def plot(problems: Any, steps: Any) -> None:
        histogram(problems, rewards.right, RIGHT, "answer right")
        histogram(problems, rewards.wrong, WRONG, "answer wrong")
        histogram(steps, rewards.accepted, DRAFT, "draft accepted")
        histogram(steps, rewards.rejected, TARGET, "draft rejected")
        problems.set_title("steps by the answer's verdict, %")
        steps.set_title("drafts by decision, %")
        for axes in (problems, steps):
            axes.set_xlim(0, 1)
            axes.set_xlabel("reward")
            axes.set_ylim(top=1.45 * axes.get_ylim()[1])
            axes.legend(loc="upper center")

    text = (
        f"Rewards of {row.label}, each histogram in percent of its own steps. Left: steps of right "
        "and of wrong answers. Right: drafts that were accepted and drafts that were rejected."
    )
    return Picture("rewards", "Rewards by outcome", text, draw(plot, panels=2, height=2.9))


def _acceptance(row: MethodRow) -> Picture:
    counts = row.patterns.steps
    by_place = enumerate(row.patterns.acceptance, start=1)
    known = [(place, interval) for place, interval in by_place if interval is not None]
    places, intervals = [place for place, _ in known], [interval for _, interval in known]

    def plot(axes: Any) -> None:
        shares = [100 * interval.estimate for interval in intervals]
        errors = [
            [100 * (i.estimate - i.low) for i in intervals],
            [100 * (i.high - i.estimate) for i in intervals],
        ]
        axes.bar(places, shares, color=DRAFT, alpha=0.75, width=0.75)
        axes.errorbar(places, shares, yerr=errors, fmt="none", ecolor=INK, elinewidth=0.9)
        for place, count in zip(places, (counts[place - 1] for place in places), strict=True):
            axes.text(place, 1.5, f"{count:,}", ha="center", fontsize=6.5, color="#ffffff")
        axes.set_ylim(0, 100)
        axes.grid(visible=False, axis="x")
        axes.set_xlabel("step of the answer")
        axes.set_ylabel("drafts accepted, %")
        axes.xaxis.get_major_locator().set_params(integer=True)

    text = (
        f"Share of drafts that {row.label} accepted, by the step's place in the answer, with 95 % "
        "intervals by problem; the small numbers count the answers that have such a step."
    )
    return Picture("acceptance", "Acceptance by step", text, draw(plot, height=3.0))


def _writers(row: MethodRow) -> Picture | None:
    shares = row.patterns.draft_share
    if not shares:
        return None
    width = 100 / POSITION_BINS
    places = [place * width for place in range(POSITION_BINS)]

    def plot(axes: Any) -> None:
        draft = [100 * share for share in shares]
        target = [100 - share for share in draft]
        axes.bar(places, draft, width=width, align="edge", color=DRAFT, alpha=0.8, label="draft")
        axes.bar(
            places,
            target,
            bottom=draft,
            width=width,
            align="edge",
            color=TARGET,
            alpha=0.8,
            label="target",
        )
        axes.set_xlim(0, 100)
        axes.set_ylim(0, 100)
        axes.grid(visible=False)
        axes.set_xlabel("place in the answer, % of its characters")
        axes.set_ylabel("written by, %")
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))

    text = (
        f"Who wrote the answers of {row.label}, along the answer: the draft "
        f"{100 * sum(shares[:5]) / 5:.0f} % of the first quarter and "
        f"{100 * sum(shares[-5:]) / 5:.0f} % of the last."
    )
    return Picture("writers", "Where the two models wrote", text, draw(plot, height=2.8))


def _accuracy(row: MethodRow) -> float:
    return 100 * row.summary.accuracy.estimate
