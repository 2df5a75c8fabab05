"""Progress of a run over many problems: a bar on a terminal, and a closing line everywhere."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rsdecode.cli.messages import print_note, print_warning
from rsdecode.core.counted import counted
from rsdecode.core.types import FinishReason

if TYPE_CHECKING:
    from rich.progress import Progress

    from rsdecode.results.lines import Lines


class RunProgress:
    """Counts what has ended and shows it on stderr (use as a context manager).

    Args:
        total: answers wanted, those of earlier runs included.
        earlier: answers that earlier runs have given.
    """

    def __init__(self, total: int, earlier: int = 0) -> None:
        self._total = total
        self._earlier = earlier
        self._reasons: Counter[FinishReason] = Counter()
        self._steps = self._accepted = self._tokens = 0
        self._scored = False
        self._started = time.monotonic()
        self._bar: Progress | None = None

    def __enter__(self) -> RunProgress:
        self._started = time.monotonic()
        if sys.stderr.isatty():
            self._bar = new_bars()
            self._bar.add_task("", total=self._total, completed=self._earlier, state="")
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    @property
    def done(self) -> int:
        """Answers that are there and need no other try."""
        return self._earlier + self._reasons.total() - self.errors

    @property
    def errors(self) -> int:
        """Problems that failed or ran out of time in this run."""
        return self._reasons[FinishReason.ERROR] + self._reasons[FinishReason.CANCELLED]

    def add(self, record: Mapping[str, Any]) -> None:
        """Count the record of an ended problem; a failure is told at once."""
        reason, usage = FinishReason(record["stop_reason"]), record["usage"]
        self._reasons[reason] += 1
        self._steps += len(record["steps"])
        self._accepted += sum(step["accepted"] for step in record["steps"])
        self._tokens += sum(usage[role]["decoded_tokens"] for role in ("draft", "target"))
        self._scored = self._scored or usage["reward"]["calls"] > 0
        if reason in (FinishReason.ERROR, FinishReason.CANCELLED):
            self._tell(f"{reason}: problem {record['id']!r}: {record['error']}")
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], advance=1, state=self._state())

    def summary(self) -> str:
        """One line on the whole run."""
        counts = [f"{self.done} of {self._total} done"]
        if self._earlier:
            counts.append(f"{self._earlier} of them before")
        counts += [f"{n} {reason}" for reason, n in self._reasons.items() if reason != "eos"]
        return ", ".join(counts) + (f" · {state}" if (state := self._state()) else "")

    def _state(self) -> str:
        if not self._reasons:
            return ""
        seconds = max(time.monotonic() - self._started, 1e-9)
        rate = f"{self._tokens / seconds:,.0f} tok/s"
        if not self._scored:
            return rate
        return f"accepted {self._accepted / max(self._steps, 1):.0%} · {rate}"

    def _tell(self, line: str) -> None:
        if self._bar is None:
            print_note(line)
        else:
            from rich.text import Text

            self._bar.console.print(Text(line))


def tell_damage(found: Lines, name: str, task: str | None = None) -> None:
    """Say what of a file of answers cannot be used.

    Args:
        found: in the file.
        name: of the file.
        task: that its answers belong to, where the file's name does not tell.
    """
    if lines := found.damaged:
        of_task = "" if task is None else f" of {task}"
        print_warning(
            f"{name}: {counted(len(lines), 'damaged line')} (first: line {lines[0]}){of_task}: "
            f"what they held is done again; they go to {name}.damaged"
        )
    if found.torn:
        print_note(f"{task or name}: the last line was cut off: its answer is done again")


def new_bars(*, named: bool = False) -> Progress:
    """Bars on stderr, each with a state of its own beside it.

    Args:
        named: each begins with its description.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    return Progress(
        *([TextColumn("{task.description}", markup=False)] if named else []),
        BarColumn(bar_width=24 if named else 40),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[state]}", markup=False),
        console=Console(stderr=True),
    )
