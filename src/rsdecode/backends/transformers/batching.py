"""Which rows go into the next forward pass."""

from __future__ import annotations

from collections.abc import Sequence

from rsdecode.backends.transformers.serving import DecodeRow, PrefillRow

Row = DecodeRow | PrefillRow
PREFILL_TOKENS = 2048
"""Tokens of one padded forward pass at most, padding included."""
CHUNK_TOKENS = 512
"""Tokens of one row in one forward pass at most; longer prompts take several."""
READS_IN_TURN = 2
"""Reading over prompts between two tokens of the answers that are being written."""
PATIENCE = 8
"""Reading over other prompts that a prompt waits for before it is the next."""


class Turns:
    """Prompts and answers take turns, so that neither waits long for the other.

    Prompts come first, as their answers then fill the batch. While answers are being written,
    prompts get `READS_IN_TURN` passes at most before the next token of all answers.
    """

    def __init__(self) -> None:
        self._reads = 0

    def select(self, rows: Sequence[Row]) -> list[Row]:
        """Rows for one forward pass, in the order of their slots; none if there are none."""
        writing = [row for row in rows if isinstance(row, DecodeRow) and len(row.pending) == 1]
        if len(writing) == len(rows) or (writing and self._reads >= READS_IN_TURN):
            self._reads = 0
            return by_slot(writing)
        self._reads += bool(writing)
        apart = {id(row) for row in writing}
        return by_slot(_alike([row for row in rows if id(row) not in apart]))


def chunk(row: Row) -> int:
    """How many of its pending tokens a row computes in one pass."""
    return min(len(row.pending), CHUNK_TOKENS)


def _alike(rows: Sequence[Row]) -> list[Row]:
    """The longest prompts, and those of similar length, as far as the budget of tokens goes.

    One that has waited too long goes before the longest.
    """
    ordered = sorted(rows, key=lambda row: (row.last_only, -len(row.pending)))
    waited = max(ordered, key=lambda row: row.passed_over)
    if waited.passed_over >= PATIENCE:
        shorter = [row for row in ordered if len(row.pending) <= len(waited.pending)]
        same = [row for row in shorter if row.last_only == waited.last_only and row is not waited]
        ordered = [waited, *same]
    width, selected = chunk(ordered[0]), list[Row]()
    for row in rows:
        row.passed_over += 1
    for row in ordered:
        too_many = selected and (len(selected) + 1) * width > PREFILL_TOKENS
        if too_many or row.last_only != ordered[0].last_only or 2 * len(row.pending) < width:
            break
        selected.append(row)
        row.passed_over = 0
    return selected


def by_slot(rows: Sequence[Row]) -> list[Row]:
    """In the order of their slots."""
    return sorted(rows, key=lambda row: row.slot.index)
