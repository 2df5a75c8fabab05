"""Accuracy over FLOPs as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rsdecode.evals.evaluate import Result

INK, MUTED = "#222222", "#888888"
COLOURS = {"draft": "#2a9d5c", "target": "#a03fb5", "rsd": "#e07b00"}


class SweepPoint(NamedTuple):
    """RSD at one threshold."""

    threshold: float
    result: Result


def draw_frontier(methods: Sequence[Result], sweep: Sequence[SweepPoint], path: Path) -> None:
    """Accuracy over FLOPs (the paper's rule), relative to the target alone; saved to `path`.

    Args:
        methods: draft, target and RSD; the target's FLOPs are the unit.
        sweep: RSD over the thresholds.
        path: the kind of picture follows from its suffix (.png, .svg, .pdf).
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    pyplot: Any = plt
    unit = next(m for m in methods if m.method == "target").flops.paper or 1.0
    figure, axes = pyplot.subplots(figsize=(7.2, 4.6), dpi=150)
    points = sorted(sweep, key=lambda point: point.threshold)
    x = [(point.result.flops.paper or 0) / unit for point in points]
    y = [100 * point.result.accuracy.estimate for point in points]
    axes.plot(x, y, "-", color=COLOURS["rsd"], linewidth=1.6, alpha=0.8, zorder=2)
    axes.scatter(x, y, s=16, color=COLOURS["rsd"], zorder=3, label="RSD, threshold 0 to 1")
    for point, left, bottom in zip(points, x, y, strict=True):
        axes.annotate(
            f"{point.threshold:g}",
            (left, bottom),
            xytext=(4, -10),
            textcoords="offset points",
            fontsize=7,
            color=MUTED,
        )
    for result in methods:
        _mark(axes, result, unit)
    axes.axvline(1.0, color=MUTED, linewidth=0.8, linestyle=":")
    axes.set_xlabel("FLOPs relative to the target alone (2N per token, reward model included)")
    axes.set_ylabel("accuracy, %")
    axes.set_title(
        f"{len(methods[0].graded)} problems, 95 % intervals", fontsize=10, color=INK, loc="left"
    )
    axes.grid(visible=True, color="#e6e6e6", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    axes.set_xlim(left=0)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    pyplot.close(figure)


def _mark(axes: Any, result: Result, unit: float) -> None:
    accuracy = result.accuracy
    estimate = 100 * accuracy.estimate
    errors = [[estimate - 100 * accuracy.low], [100 * accuracy.high - estimate]]
    axes.errorbar(
        [(result.flops.paper or 0) / unit],
        [estimate],
        yerr=errors,
        fmt="D",
        markersize=7,
        capsize=3,
        color=COLOURS.get(result.method, INK),
        label=result.method if result.method != "rsd" else "RSD, default threshold",
        zorder=4,
    )
