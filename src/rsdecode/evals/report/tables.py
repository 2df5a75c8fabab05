"""The report's numbers as tables of texts, the same for Markdown and for the page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rsdecode.core.types import Role
from rsdecode.evals.report.content import DataSetTable, MethodRow
from rsdecode.results.stats import Interval

NOTHING = "–"


class Table(NamedTuple):
    """A table.

    Attributes:
        note: how to read it.
        rows: each a name and its values.
    """

    title: str
    note: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def results_table(group: DataSetTable) -> Table:
    """What each method reached."""
    return Table(
        "Results",
        "Accuracy in percent with its 95 % interval (Wilson's). Difference to the target alone in "
        "points on the answers that both have, with its paired 95 % interval (Agresti and Min's), "
        "and the exact p that neither is better (McNemar's; with several samples, of sign flips). "
        "Several samples of one problem count as one cluster. Accepted: share of the drafts' "
        "steps, and of the tokens of all decided steps, that entered the answer. Draft alone: "
        "share of answers that are right and that the draft wrote from start to end. Truncated: a "
        "limit ended the answer; never right. "
        "Seconds of single answers, many of them in flight together.",
        (
            "method",
            "answers",
            "accuracy",
            "to target",
            "p",
            "steps accepted",
            "tokens accepted",
            "draft alone",
            "truncated",
            "seconds p50",
            "p90",
            "p99",
        ),
        [_result(row) for row in group.rows],
    )


def cost_table(group: DataSetTable) -> Table:
    """What each method cost."""
    return Table(
        "Cost",
        "Tokens that draft and target wrote, and that the reward model read. FLOPs per answer: the "
        "paper's rule is 2N for each of these tokens; exact counts the matrix multiplications that "
        "ran (prefill, attention, cached tokens free). Relative: to the target alone.",
        (
            "method",
            "draft tokens",
            "target tokens",
            "reward tokens",
            "paper: draft",
            "target",
            "reward",
            "all",
            "relative",
            "exact: draft",
            "target",
            "reward",
            "all",
            "relative",
        ),
        [_cost(row) for row in group.rows],
    )


def thoughts_table(group: DataSetTable) -> Table | None:
    """How much of what was written is thoughts, and how they ended; None where there are none."""
    found = [(row.label, row.summary.thoughts) for row in group.rows if row.summary.thoughts]
    if not found:
        return None
    return Table(
        "Thoughts",
        "Share of the written tokens that are thoughts, and share of the answers whose thoughts "
        "were closed: when their budget was used up, or because they repeated themselves. Answers "
        "are graded without them.",
        ("method", "of the tokens", "closed by the budget", "closed as repeated"),
        [[label, *map(share_text, thoughts)] for label, thoughts in found],
    )


def paper_table(group: DataSetTable) -> Table | None:
    """Our rows beside the paper's; None where it has none for the data set."""
    rows: list[list[str]] = []
    for row in group.rows:
        theirs = [f"{f.accuracy:.1f} ({f.method}, {f.models})" for f in row.paper]
        if theirs:
            rows.append([row.label, _accuracy(row), ", ".join(theirs)])
    if not rows:
        return None
    return Table(
        "Beside the paper",
        "The paper's models differ from ours unless the configuration below names the same ones; "
        "sizes are draft/target/PRM.",
        ("method", "accuracy here", "paper, Table 2"),
        rows,
    )


def interval_text(interval: Interval, *, signed: bool = False) -> str:
    """`81.5 [75.5, 86.3]`, in percent."""
    sign = "+" if signed else ""
    estimate, low, high = (f"{100 * value:{sign}.1f}" for value in interval)
    return f"{estimate} [{low}, {high}]"


def share_text(share: float | None) -> str:
    """`42.0 %`."""
    return NOTHING if share is None else f"{100 * share:.1f} %"


def flops_text(value: float | None) -> str:
    """`1.23e+09`."""
    return NOTHING if value is None else f"{value:.2e}"


def ratio_text(value: float | None) -> str:
    """`0.42x`."""
    return NOTHING if value is None else f"{value:.3f}x"


def _accuracy(row: MethodRow) -> str:
    return NOTHING if row.summary.failed else interval_text(row.summary.accuracy)


def _result(row: MethodRow) -> list[str]:
    summary, against = row.summary, row.to_target
    return [
        row.label,
        f"{summary.answers}"
        if summary.answers == row.expected
        else f"{summary.answers} of {row.expected}",
        _accuracy(row),
        NOTHING if against is None else interval_text(against.difference, signed=True),
        NOTHING if against is None else f"{against.p_value:.3g}",
        share_text(summary.acceptance_rate),
        share_text(summary.token_acceptance_rate),
        share_text(summary.draft_alone),
        share_text(summary.truncation_rate),
        *(f"{seconds:.2f}" for seconds in summary.latency),
    ]


def _cost(row: MethodRow) -> list[str]:
    summary = row.summary
    texts = [row.label, *(f"{summary.tokens[role]:,}" for role in Role)]
    for rule in ("paper", "exact"):
        parts = [getattr(summary.flops_by_role[role], rule) for role in Role]
        per_answer = [
            None if value is None else value / summary.answers
            for value in (*parts, getattr(summary.flops, rule))
        ]
        texts += [*map(flops_text, per_answer), ratio_text(row.relative_flops[rule])]
    return texts
