from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from rsdecode.backends.transformers.jobs import Decode
from rsdecode.backends.transformers.tickets import Ticket
from rsdecode.backends.transformers.waiting_jobs import WaitingJobs

LOOP = asyncio.new_event_loop()
LOOP.close()


def ticket(length: int, name: int) -> Ticket:
    future: Any = None
    return Ticket(Decode(str(name), (1,), length), future, LOOP)


@given(
    st.integers(1, 5),
    st.lists(st.one_of(st.integers(1, 50), st.none()), max_size=80),
)
def test_the_longest_first_and_none_more_than_a_batch_late(
    batch: int, moves: list[int | None]
) -> None:
    """A number adds a job of that length, None takes one; the plain rule is the model."""
    waiting, plain = WaitingJobs(batch), list[tuple[int, Ticket]]()
    arrived = taken = 0
    for move in [*moves, *[None] * len(moves)]:
        if move is not None:
            new = ticket(move, arrived)
            waiting.add(new)
            plain.append((arrived, new))
            arrived += 1
            continue
        got = waiting.take()
        if not plain:
            assert got is None
            continue
        oldest = plain[0]
        if taken >= oldest[0] + batch:
            expected = oldest
        else:
            expected = max(plain, key=lambda entry: entry[1].job.max_tokens)  # type: ignore[union-attr]
        assert got is expected[1]
        plain.remove(expected)
        taken += 1
        assert len(waiting) == len(plain)
