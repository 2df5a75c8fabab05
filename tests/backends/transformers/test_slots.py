from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rsdecode.backends.transformers.slots import SlotTable, common_prefix, exchanges

IDS = st.lists(st.integers(0, 2), max_size=12)


@given(IDS, IDS)
def test_common_prefix(a: list[int], b: list[int]) -> None:
    length = common_prefix(a, b)
    assert a[:length] == b[:length]
    assert length == min(len(a), len(b)) or a[length] != b[length]


@given(st.lists(st.tuples(st.sampled_from("abcd"), IDS.filter(bool)), min_size=1, max_size=30))
def test_a_slot_holds_what_it_says(requests: list[tuple[str, list[int]]]) -> None:
    """Contents follow every copy and rewind; what is reused is always right."""
    table = SlotTable(3)
    content: dict[int, list[int]] = {0: [], 1: [], 2: []}
    for session, ids in requests:
        placed = table.place(session, ids, len(ids) - 1)
        slot, reused, source = placed[:3]
        if source is not None:
            content[slot.index] = list(content[source.index])
        assert content[slot.index][:reused] == ids[:reused]
        assert reused <= len(ids) - 1
        assert slot.ids == ids[:reused]
        content[slot.index] = list(ids)
        slot.ids.extend(ids[reused:])
        table.release(slot)


@given(st.data())
def test_slots_brought_together_are_adjacent_and_keep_what_they_hold(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 9))
    table = SlotTable(count)
    content = {slot.index: [slot.index] for slot in table.slots}
    for slot in table.slots:
        slot.ids = [slot.index]
    for _ in range(3):
        chosen = data.draw(st.lists(st.sampled_from(table.slots), unique_by=id))
        for a, b in table.bring_together(chosen):
            content[a], content[b] = content[b], content[a]
        places = sorted(slot.index for slot in chosen)
        assert places == list(range(places[0], places[0] + len(places))) if places else True
        for place, slot in enumerate(table.slots):
            assert slot.index == place
            assert content[place] == slot.ids


@given(st.sets(st.integers(0, 7)))
def test_no_fewer_exchanges_would_do(places: set[int]) -> None:
    width = len(places)
    windows = [set(range(start, start + width)) for start in range(8 - width + 1)]
    least = min(len(places - window) for window in windows)
    assert len(exchanges(sorted(places), 8)) == least


def place(table: SlotTable, session: str, ids: list[int]) -> tuple[int, int]:
    placed = table.place(session, ids, len(ids) - 1)
    placed.slot.ids.extend(ids[placed.reused :])
    table.release(placed.slot)
    return placed.slot.index, placed.reused


def test_a_session_comes_back_to_its_slot() -> None:
    table = SlotTable(2)
    first, _ = place(table, "a", [1, 2, 3, 4])
    other, _ = place(table, "b", [1, 2, 9, 9])
    assert first != other
    assert place(table, "a", [1, 2, 3, 4, 5]) == (first, 4)
    assert place(table, "b", [1, 2, 9, 9, 9]) == (other, 4)


def test_the_slot_idle_longest_gives_way() -> None:
    table = SlotTable(2)
    first, _ = place(table, "a", [1, 1])
    second, _ = place(table, "b", [2, 2])
    place(table, "a", [1, 1, 1])
    assert place(table, "c", [3, 3])[0] == second
    assert place(table, "a", [1, 1, 1, 1]) == (first, 3)


def test_no_slot_while_all_are_busy() -> None:
    table = SlotTable(1)
    placed = table.place("a", [1, 2], 1)
    assert not table.has_room
    table.release(placed.slot)
    assert table.has_room


def test_a_forgotten_slot_is_not_reused() -> None:
    table = SlotTable(1)
    placed = table.place("a", [1, 2, 3], 2)
    placed.slot.ids.extend([1, 2, 3])
    table.forget(placed.slot)
    assert place(table, "a", [1, 2, 3, 4]) == (0, 0)


def test_a_new_session_takes_the_place_of_one_that_is_over() -> None:
    table = SlotTable(3)
    for session in ("p/0", "q/0", "r/0/1"):
        placement = table.place(session, [1, 2, 3], 2)
        table.release(placement.slot)
    table.end("r/0")
    placement = table.place("new", [9], 0)
    assert placement.slot.index == 2


def test_a_cleared_table_reuses_nothing_but_leaves_busy_slots_alone() -> None:
    table = SlotTable(2)
    place(table, "a", [1, 2, 3])
    busy = table.place("b", [4, 5], 1)
    busy.slot.ids.extend([4, 5])
    table.clear()
    assert busy.slot.ids == [4, 5]
    assert place(table, "a", [1, 2, 3])[1] == 0
