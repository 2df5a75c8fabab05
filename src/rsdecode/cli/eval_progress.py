"""Progress of `rsd eval` and `rsd demo`: a bar for each task, or a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from rsdecode.cli.messages import print_note
from rsdecode.cli.progress import new_bars
from rsdecode.core.counted import counted

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

LINE_EVERY_S = 30.0
UNANSWERED = ("error", "cancelled")
"""Reasons of an end after which a problem is done again by the next run."""
Record = Mapping[str, Any]


class Tally:
    """What the answers of one task come to so far.

    Args:
        total: answers wanted.
        earlier: those that earlier runs have given.
    """

    def __init__(self, total: int, earlier: Iterable[Record] = ()) -> None:
        self.total = total
        self.done = self._right = self._steps = self._accepted = self._tokens = 0
        self._started = time.monotonic()
        for record in earlier:
            self.add(record)
        self._earlier, self._tokens = self.done, 0

    def add(self, record: Record) -> None:
        """Count an answer."""
        self.done += 1
        self._right += record["grade"]["correct"]
        decided = [step for step in record["steps"] if step["weight"] is not None]
        self._steps += len(decided)
        self._accepted += sum(step["accepted"] for step in decided)
        self._tokens += sum(record["usage"][role]["decoded_tokens"] for role in ("draft", "target"))

    def __str__(self) -> str:
        parts = [f"{self._right / self.done:.1%} right"] if self.done else []
        if self._steps:
            parts.append(f"accepted {self._accepted / self._steps:.0%}")
        if self._tokens:
            parts.append(f"{self._tokens / self._seconds:,.0f} tok/s")
        return " · ".join(parts)

    @property
    def left_s(self) -> float | None:
        """Seconds that the rest will take; None where nothing tells."""
        now = self.done - self._earlier
        return self._seconds / now * (self.total - self.done) if now else None

    @property
    def _seconds(self) -> float:
        return max(time.monotonic() - self._started, 1e-9)


class EvalProgress:
    """Shows the tasks on stderr as they run (use as a context manager)."""

    def __init__(self) -> None:
        self.done = self.errors = 0
        self._bars: Progress | None = None

    def __enter__(self) -> EvalProgress:
        if sys.stderr.isatty():
            self._bars = new_bars(named=True)
            self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bars is not None:
            self._bars.stop()

    def start(self, name: str, tally: Tally) -> Callable[[Record], None]:
        """Show a task; call what is returned with each of its answers."""
        show = self._line(name, tally) if self._bars is None else _bar(self._bars, name, tally)

        def count(record: Record) -> None:
            tally.add(record)
            self.done += 1
            self.errors += record["stop_reason"] in UNANSWERED
            if record["error"] is not None:
                self._tell(f"{name}: {record['stop_reason']}: problem {record['id']!r}: "
                           f"{record['error']}")  # fmt: skip
            show()

        return count

    def _line(self, name: str, tally: Tally) -> Callable[[], None]:
        """Lines: the first now, the last with the last answer."""
        before = f", {tally.done} of them before" if tally.done else ""
        print_note(f"{name}: {counted(tally.total, 'answer')}{before}")
        shown = time.monotonic()

        def show() -> None:
            nonlocal shown
            ended, now = tally.done == tally.total, time.monotonic()
            if ended or now - shown >= LINE_EVERY_S:
                shown = now
                left = tally.left_s
                rest = "" if ended or left is None else f" · {_clock(left)} left"
                print_note(f"{name}: {tally.done} of {tally.total} · {tally}{rest}")

        return show

    def _tell(self, line: str) -> None:
        if self._bars is None:
            print_note(line)
        else:
            from rich.text import Text

            self._bars.console.print(Text(line))


def _bar(bars: Progress, name: str, tally: Tally) -> Callable[[], None]:
    state = str(tally)
    task: TaskID = bars.add_task(name, total=tally.total, completed=tally.done, state=state)
    return lambda: bars.update(task, completed=tally.done, state=str(tally))


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
