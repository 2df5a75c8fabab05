"""Tables and progress bars of methods side by side."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from rsdecode.cli.messages import print_note
from rsdecode.evals.evaluate import Graded, Result
from rsdecode.evals.plots import SweepPoint
from rsdecode.evals.stats import Interval, paired_difference

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class MethodProgress:
    """A bar for each method, on stderr, with accuracy and acceptance so far.

    Away from a terminal, a line for each method as it starts.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._bars: Progress | None = None

    def __enter__(self) -> MethodProgress:
        if sys.stderr.isatty():
            self._bars = _bars()
            self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bars is not None:
            self._bars.stop()

    def start(self, name: str) -> Callable[[Graded], None]:
        """A new bar; call what is returned with each problem that has ended."""
        if self._bars is None:
            print_note(f"{name}: {self._total} problems")
            return lambda graded: None
        bars, task = self._bars, self._bars.add_task(name, total=self._total, state="")
        return _counter(bars, task)


def _counter(bars: Progress, task: TaskID) -> Callable[[Graded], None]:
    done = right = steps = accepted = 0

    def count(graded: Graded) -> None:
        nonlocal done, right, steps, accepted
        trajectory = graded.trajectory
        done, right = done + 1, right + graded.correct
        state = f"{right / done:.0%} right"
        if trajectory.ledger.reward.calls:
            steps += len(trajectory.steps)
            accepted += sum(step.accepted for step in trajectory.steps)
            state += f", {accepted / max(steps, 1):.0%} of steps by the draft"
        bars.update(task, advance=1, state=state)

    return count


def print_methods(results: Sequence[Result]) -> None:
    """Accuracy, tokens, acceptance, FLOPs relative to the target, seconds: a row for each."""
    target = next(result for result in results if result.method == "target")
    table = new_table(
        "method",
        "accuracy [95 %]",
        "to target [95 %]",
        "accepted",
        "draft tokens",
        "target tokens",
        "PRM tokens",
        "FLOPs paper",
        "FLOPs exact",
        "seconds",
    )
    for result in results:
        tokens = result.tokens
        table.add_row(
            result.method,
            accuracy_text(result.accuracy),
            "" if result is target else difference_text(_to_target(result, target)),
            percent(result.acceptance_rate),
            *(f"{tokens[role]:,}" for role in ("draft", "target", "reward")),
            relative(result.flops.paper, target.flops.paper),
            relative(result.flops.exact, target.flops.exact),
            f"{result.seconds:.1f}",
        )
    print_table(table)


def print_sweep(points: Sequence[SweepPoint], results: Sequence[Result]) -> None:
    """RSD over the thresholds."""
    target = next(result for result in results if result.method == "target")
    table = new_table(
        "threshold",
        "accuracy [95 %]",
        "to target [95 %]",
        "accepted",
        "target tokens",
        "FLOPs paper",
        "FLOPs exact",
    )
    for point in points:
        result = point.result
        table.add_row(
            f"{point.threshold:g}",
            accuracy_text(result.accuracy),
            difference_text(_to_target(result, target)),
            percent(result.acceptance_rate),
            f"{result.tokens['target']:,}",
            relative(result.flops.paper, target.flops.paper),
            relative(result.flops.exact, target.flops.exact),
        )
    print_table(table)


def accuracy_text(accuracy: Interval) -> str:
    """`81.5 % [75.5, 86.3]`."""
    share, low, high = accuracy
    return f"{100 * share:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


def difference_text(interval: Interval) -> str:
    """`+2.0 [+0.4, +3.6]`, in points."""
    difference, low, high = interval
    return f"{100 * difference:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"


def _to_target(result: Result, target: Result) -> Interval:
    return paired_difference(result.correct, target.correct)


def relative(value: float | None, unit: float | None) -> str:
    """`0.42x`, or a dash where it is not known."""
    return f"{value / unit:.2f}x" if value is not None and unit else "-"


def percent(share: float | None) -> str:
    """`42%`, or nothing where it is not known."""
    return "" if share is None else f"{share:.0%}"


def new_table(*columns: str) -> Any:
    """A table; all columns but the first hold numbers."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, header_style="bold")
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right", no_wrap=index == 0)
    return table


def print_table(table: Any) -> None:
    """Print on stdout, wide where nobody's window is known."""
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else 140).print(table)


def _bars() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    return Progress(
        TextColumn("{task.description:<10}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TextColumn("{task.fields[state]}"),
        console=Console(stderr=True),
    )
