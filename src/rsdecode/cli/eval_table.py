"""The closing tables of `rsd eval`: one for each data set, a row for each method."""

from __future__ import annotations

from collections.abc import Sequence

from rsdecode.cli.table import (
    accuracy_text,
    difference_text,
    new_table,
    percent,
    print_table,
    relative,
)
from rsdecode.core.cost import Flops
from rsdecode.evals.summary import Comparison, Summary

LEGEND = (
    "accepted: steps by the draft; alone: right, and by the draft from start to end; "
    "cut: reached a limit; then tokens, and FLOPs by the paper's rule and exact"
)
Rows = Sequence[tuple[Summary, Comparison | None]]
"""Summaries with their comparison to the target; None for the target itself, or without one."""


def print_summaries(data: str, rows: Rows) -> None:
    """Accuracy, tokens, acceptance, FLOPs relative to the target."""
    unit = next((s.flops for s, _ in rows if s.method == "target"), Flops(None, None))
    table = new_table(
        "method",
        "accuracy [95 %]",
        "to target [95 %]",
        "accepted",
        "alone",
        "cut",
        "draft",
        "target",
        "PRM",
        "FLOPs",
        "exact",
    )
    answers = max(summary.answers for summary, _ in rows)
    table.title, table.title_justify = f"{data}: {answers:,} answers", "left"
    table.caption, table.caption_justify = LEGEND, "left"
    for column in table.columns[1:3]:
        column.no_wrap = True
    for summary, to_target in rows:
        table.add_row(
            summary.method,
            accuracy_text(summary.accuracy),
            difference_text(to_target.difference) if to_target else "",
            percent(summary.acceptance_rate),
            percent(summary.draft_alone),
            percent(summary.truncation_rate),
            *(_count_text(summary.tokens[role]) for role in ("draft", "target", "reward")),
            _flops_text(summary.flops.paper, unit.paper),
            _flops_text(summary.flops.exact, unit.exact),
        )
    print_table(table)


def _count_text(count: int) -> str:
    """`8,123`, `81k`, `812.3M`."""
    if count < 10_000:
        return f"{count:,}"
    return f"{count / 1e3:,.0f}k" if count < 10_000_000 else f"{count / 1e6:,.1f}M"


def _flops_text(value: float | None, unit: float | None) -> str:
    """Relative to the target where there is one."""
    if unit or value is None:
        return relative(value, unit)
    return f"{value:.2e}"
