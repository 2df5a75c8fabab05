"""The reliability picture: how often steps are right, by their reward."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rsdecode.evals.fitting import reliability
from rsdecode.evals.report.drawing import INK, MUTED, RIGHT, RSD, Plot
from rsdecode.results.stats import wilson
from rsdecode.rewards.calibration import Calibration

_GRID = 200


def reliability_picture(
    title: str, rewards: Sequence[float], right: Sequence[bool], found: Calibration
) -> Plot:
    """Share of right steps over the reward, in ten bins with intervals, and the fitted map."""
    rows = reliability(rewards, right)

    def plot(axes: Any) -> None:
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle=":")
        x = [place / _GRID for place in range(_GRID + 1)]
        axes.plot(x, found.all(x), color=RSD, linewidth=1.3, label="calibration")
        intervals = [wilson(round(row.right * row.steps), row.steps) for row in rows]
        below = [row.right - i.low for row, i in zip(rows, intervals, strict=True)]
        above = [i.high - row.right for row, i in zip(rows, intervals, strict=True)]
        axes.errorbar(
            [row.mean for row in rows],
            [row.right for row in rows],
            yerr=[[max(0.0, b) for b in below], [max(0.0, a) for a in above]],
            fmt="o",
            color=RIGHT,
            markersize=4,
            linewidth=0.9,
            label="share of right steps",
        )
        for row in rows:
            axes.annotate(
                str(row.steps), (row.mean, row.right), xytext=(4, -9), fontsize=7, color=INK,
                textcoords="offset points",
            )  # fmt: skip
        axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="reward", ylabel="steps that are right")
        axes.set_title(title)
        axes.legend(loc="upper left")

    return plot
