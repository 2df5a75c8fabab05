"""Tables of methods side by side: a row for each, compared to the target."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from rsdecode.cli.messages import print_warning
from rsdecode.core.counted import counted
from rsdecode.results.comparison import ComparedMethod
from rsdecode.results.stats import Interval
from rsdecode.results.summary import Summary

LEGEND = (
    "accepted: steps by the draft (of speculative: tokens); alone: right, and by the draft from "
    "start to end; cut: reached a limit; FLOPs: by the paper's rule, and exact"
)


def print_compared(title: str, methods: Sequence[ComparedMethod]) -> None:
    """Accuracy, tokens, acceptance, FLOPs relative to the target: a row for each method."""
    table = _table(
        "method",
        "accuracy [95 %]",
        "to target [95 %]",
        "accepted",
        "alone",
        "cut",
        "draft\ntokens",
        "target\ntokens",
        "PRM\ntokens",
        "FLOPs",
        "exact",
    )
    answers = max(method.summary.answers for method in methods)
    table.title, table.title_justify = f"{title}: {counted(answers, 'answer')}", "left"
    table.caption, table.caption_justify = LEGEND, "left"
    for column in table.columns[1:3]:
        column.no_wrap = True
    for method in methods:
        summary, to_target = method.summary, method.to_target
        table.add_row(
            summary.method,
            "-" if summary.failed else _accuracy(summary.accuracy),
            _difference(to_target.difference) if to_target else "",
            _percent(_accepted(summary)),
            _percent(summary.draft_alone),
            _percent(summary.truncation_rate),
            *(_count_text(summary.tokens[role]) for role in ("draft", "target", "reward")),
            _flops_text(summary.flops.paper, method.relative_flops["paper"]),
            _flops_text(summary.flops.exact, method.relative_flops["exact"]),
        )
    _print(table)
    for method in methods:
        if failed := method.summary.failed:
            name = method.summary.method
            print_warning(f"{name}: every request failed, so there is no accuracy: {failed}")


def _accepted(summary: Summary) -> float | None:
    """The share of steps, or of tokens where no step but single tokens were decided."""
    steps = summary.acceptance_rate
    return summary.token_acceptance_rate if steps is None else steps


def _count_text(count: int) -> str:
    """`8,123`, `81k`, `812.3M`."""
    if count < 10_000:
        return f"{count:,}"
    return f"{count / 1e3:,.0f}k" if count < 10_000_000 else f"{count / 1e6:,.1f}M"


def _flops_text(value: float | None, relative: float | None) -> str:
    """`0.42x` of the target's where there is one, else the number; a dash where it is not known."""
    if relative is not None:
        return f"{relative:.2f}x"
    return "-" if value is None else f"{value:.2e}"


def _accuracy(accuracy: Interval) -> str:
    """`81.5 % [75.5, 86.3]`."""
    share, low, high = accuracy
    return f"{100 * share:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


def _difference(interval: Interval) -> str:
    """`+2.0 [+0.4, +3.6]`, in points."""
    difference, low, high = interval
    return f"{100 * difference:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"


def _percent(share: float | None) -> str:
    """`42%`, or nothing where it is not known."""
    return "" if share is None else f"{share:.0%}"


def _table(*columns: str) -> Any:
    """A table; all columns but the first hold numbers."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, header_style="bold")
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right", no_wrap=index == 0)
    return table


def _print(table: Any) -> None:
    """Print on stdout, wide where nobody's window is known."""
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else 140).print(table)
