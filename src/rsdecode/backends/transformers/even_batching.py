"""Which rows go into the next forward pass of a model with states: rows of one length.

A state has no mask: padding before the new tokens lets it fade, or enters it. So the rows of a pass
compute equally many tokens. Rows of several lengths take turns by powers of two: in each pass the
longest, and all that have at least half as much left, compute what the shortest of them has. So n
tokens take about log2(n) passes, whatever else is served. Where a family must not be given one
token of a text, only rows of one length share a pass.
"""

from __future__ import annotations

from collections.abc import Sequence

from rsdecode.backends.transformers.batching import (
    CHUNK_TOKENS,
    PATIENCE,
    PREFILL_TOKENS,
    READS_IN_TURN,
    Row,
    by_slot,
)
from rsdecode.backends.transformers.families import Reading


class EvenTurns:
    """Prompts and answers take turns, as in `batching.Turns`."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._reads = 0

    def select(self, rows: Sequence[Row]) -> list[Row]:
        """Rows for one forward pass, in the order of their slots; none if there are none."""
        pieces = {id(row): piece(row, self._reading) for row in rows}
        single = [row for row in rows if pieces[id(row)] == 1]
        if len(single) == len(rows) or (single and self._reads >= READS_IN_TURN):
            self._reads = 0
            return by_slot(single)
        self._reads += bool(single)
        longer = [row for row in rows if pieces[id(row)] > 1]
        alike = _similar(longer, pieces, halves=self._reading is Reading.EVEN)
        return by_slot(alike)


def piece(row: Row, reading: Reading) -> int:
    """How many of its pending tokens a row can compute in one pass at most."""
    left = row.to_next_stop()
    if reading is Reading.SINGLE:
        return 1 if row.slot.ids else min(left, PREFILL_TOKENS)
    if reading is Reading.WHOLE and len(row.pending) > 1:
        return _leaving_none_alone(min(left, CHUNK_TOKENS), len(row.pending))
    return min(left, CHUNK_TOKENS)


def _leaving_none_alone(count: int, pending: int) -> int:
    """About `count` of `pending` tokens, at least two and not all but one."""
    count = max(count, 2)
    return count if pending - count != 1 else (pending if pending <= CHUNK_TOKENS else count - 1)


def _similar(rows: Sequence[Row], pieces: dict[int, int], *, halves: bool) -> list[Row]:
    """The longest, and those that have half as much left, as far as the budget of tokens goes.

    One that has waited too long takes the place of the longest. Without `halves`, those that have
    as much left.
    """
    waited = max(rows, key=lambda row: row.passed_over)
    first = max(rows, key=lambda row: (not row.last_only, pieces[id(row)]))
    if waited.passed_over >= PATIENCE:
        first = waited
    width, selected = pieces[id(first)], [first]
    least = 1 << (width.bit_length() - 1) if halves else width
    for row in rows:
        row.passed_over += 1
    for row in sorted(rows, key=lambda row: -row.passed_over):
        shared = min(width, pieces[id(row)])
        fits = (len(selected) + 1) * shared <= PREFILL_TOKENS
        if not halves and pieces[id(row)] != width:
            continue
        if row is not first and shared >= least and fits and row.last_only == first.last_only:
            selected.append(row)
            width = shared
    for row in selected:
        row.passed_over = 0
    return selected
