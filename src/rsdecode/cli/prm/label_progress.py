"""Progress of `rsd prm label`: a bar at a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rsdecode.cli.messages import print_note
from rsdecode.cli.progress import new_bars
from rsdecode.core.counted import counted
from rsdecode.training.label_costs import LabelTally

if TYPE_CHECKING:
    from rich.progress import Progress

LINE_EVERY_S = 30.0


class LabelProgress:
    """Counts labelled solutions and shows them on stderr (use as a context manager).

    Args:
        total: solutions wanted.
        earlier: those that earlier runs have labelled.
    """

    def __init__(self, total: int, earlier: int) -> None:
        self.tally = LabelTally()
        self._total, self._earlier = total, earlier
        self._started = self._shown = time.monotonic()
        self._bars: Progress | None = None

    def __enter__(self) -> LabelProgress:
        if sys.stderr.isatty():
            self._bars = new_bars()
            self._bars.add_task("", total=self._total, completed=self._earlier, state="")
            self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bars is not None:
            self._bars.stop()

    @property
    def seconds(self) -> float:
        """Since it was made."""
        return time.monotonic() - self._started

    def add(self, record: Mapping[str, Any]) -> None:
        """Count a record; a failure is told at once."""
        self.tally.add(record)
        if record["error"] is not None:
            self.tell(f"error: problem {record['id']!r}, sample {record['sample']}: "
                      f"{record['error']}")  # fmt: skip
        now = time.monotonic()
        if self._bars is not None:
            self._bars.update(self._bars.task_ids[0], advance=1, state=str(self))
        elif now - self._shown >= LINE_EVERY_S:
            self._shown = now
            done = self._earlier + self.tally.solutions
            print_note(f"{done:,} of {counted(self._total, 'solution')} · {self}")

    def tell(self, line: str) -> None:
        """Print a line beside the bar."""
        if self._bars is None:
            print_note(line)
        else:
            from rich.text import Text

            self._bars.console.print(Text(line))

    def __str__(self) -> str:
        tally = self.tally
        parts = [f"{tally.right / tally.graded:.0%} of answers right"] if tally.graded else []
        if tally.steps:
            parts.append(f"{tally.wrong_steps / tally.steps:.0%} of steps wrong")
        if tally.completions:
            parts.append(counted(tally.completions, "completion"))
        parts.append(f"{tally.tokens / max(self.seconds, 1e-9):,.0f} tok/s")
        if tally.read:
            parts.append(f"{tally.read / max(self.seconds, 1e-9):,.0f} tok/s read by the reward")
        if tally.flops:
            parts.append(f"{tally.flops:.1e} FLOPs")
        return " · ".join(parts)
