"""Parts of a request's answers on their way to its client."""

from __future__ import annotations

import asyncio
from itertools import groupby

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsdecode.server.answers import Part, StartPart, TextPart, TracePart
from rsdecode.server.errors import ApiError
from rsdecode.server.part_queue import GAP_S, PartQueue


async def test_text_is_given_out_at_once_and_then_together_after_the_gap() -> None:
    parts, loop = PartQueue(), asyncio.get_running_loop()
    parts.put(TextPart(0, "a"))
    assert await parts.take() == [TextPart(0, "a")]
    given_at = loop.time()
    for text in "bcd":
        parts.put(TextPart(0, text))
    assert await parts.take() == [TextPart(0, "bcd")]
    assert loop.time() - given_at >= GAP_S - 0.002
    await asyncio.sleep(2 * GAP_S)
    parts.put(TextPart(0, "e"))
    assert await asyncio.wait_for(parts.take(), GAP_S / 2) == [TextPart(0, "e")]


async def test_a_reader_that_waits_gets_text_that_comes_within_the_gap() -> None:
    parts = PartQueue()
    parts.put(TextPart(0, "a"))
    await parts.take()
    waiting = asyncio.ensure_future(parts.take())
    await asyncio.sleep(0)
    parts.put(TextPart(0, "b"))
    assert await asyncio.wait_for(waiting, 1.0) == [TextPart(0, "b")]


async def test_a_timer_that_is_early_keeps_no_text_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """uvloop's timers count whole milliseconds, and no other part may come for long."""
    loop = asyncio.get_running_loop()
    parts = PartQueue()
    parts.put(TextPart(0, "a"))
    await parts.take()
    call_at = loop.call_at
    early = lambda when, *given, **named: call_at(when - GAP_S / 2, *given, **named)  # noqa: E731
    monkeypatch.setattr(loop, "call_at", early)
    waiting = asyncio.ensure_future(parts.take())
    await asyncio.sleep(0)
    parts.put(TextPart(0, "b"))
    assert await asyncio.wait_for(waiting, 1.0) == [TextPart(0, "b")]


async def test_what_is_no_text_waits_for_nothing_and_takes_the_text_along() -> None:
    parts = PartQueue()
    parts.put(TextPart(0, "a"))
    await parts.take()
    waiting = asyncio.ensure_future(parts.take())
    parts.put(TextPart(0, "b"))
    parts.put(TracePart(0, {"event": "decided"}))
    parts.put(TextPart(0, "c"))
    found = await asyncio.wait_for(waiting, GAP_S / 2)
    assert found == [TextPart(0, "b"), TracePart(0, {"event": "decided"}), TextPart(0, "c")]


async def test_an_error_follows_what_came_before_it() -> None:
    parts, error = PartQueue(), ApiError(502, "the target is gone")
    parts.put(TextPart(0, "a"))
    parts.put(error)
    assert await parts.take() == [TextPart(0, "a"), error]


PARTS: st.SearchStrategy[Part] = st.one_of(
    st.builds(TextPart, st.integers(0, 2), st.text("ab", min_size=1, max_size=3), st.booleans()),
    st.builds(StartPart, st.integers(0, 2)),
)


@given(st.lists(st.tuples(PARTS, st.booleans())))
@settings(deadline=None, max_examples=50)
def test_each_answer_has_all_its_text_in_order(given: list[tuple[Part, bool]]) -> None:
    """Whenever it is read: what one answer says, thoughts apart, and where other parts stand."""

    async def through() -> list[Part]:
        parts, taken = PartQueue(), list[Part]()
        for part, read in given:
            parts.put(part)
            if read:
                parts._next_text = 0.0
                taken += [p for p in await parts.take() if not isinstance(p, ApiError)]
        parts.put(StartPart(9))
        return [*taken, *(p for p in await parts.take() if not isinstance(p, ApiError))]

    def joined(parts: list[Part], choice: int) -> list[tuple[object, str]]:
        own = [p for p in parts if p.choice in (choice, 9)]
        runs = groupby(own, lambda p: p.thought if isinstance(p, TextPart) else type(p))
        return [(k, "".join(getattr(p, "text", ".") for p in run)) for k, run in runs]

    found, sent = asyncio.run(through()), [*(part for part, _ in given), StartPart(9)]
    for choice in range(3):
        assert joined(found, choice) == joined(sent, choice)
