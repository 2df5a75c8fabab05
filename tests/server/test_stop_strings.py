from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rsdecode.server.stop_strings import StopStrings


def read(text: str, stops: list[str], size: int) -> tuple[str, str | None]:
    reader = StopStrings(tuple(stops))
    given = "".join(reader.add(text[i : i + size]) for i in range(0, len(text), size))
    return given + reader.add("", last=True), reader.found


def test_neither_the_stop_string_nor_what_follows_is_given_out() -> None:
    assert read("It is 4. Question: and", ["Question:", "</s>"], 3) == ("It is 4. ", "Question:")


def test_what_only_begins_like_a_stop_string_is_given_out_in_the_end() -> None:
    assert read("It is 4. Quest", ["Question:"], 2) == ("It is 4. Quest", None)


def test_text_is_given_out_as_soon_as_no_stop_string_can_begin_in_it() -> None:
    reader = StopStrings(("\n\n",))
    assert reader.add("a\n") == "a"
    assert reader.add("b") == "\nb"
    assert reader.add("\n") == ""
    assert reader.add("\nc") == ""
    assert reader.found == "\n\n"
    assert reader.add("more") == ""


@given(
    st.text(alphabet="abc", max_size=30),
    st.lists(st.text(alphabet="abc", min_size=1, max_size=4), max_size=3),
    st.integers(1, 5),
)
def test_the_text_is_cut_at_the_first_stop_string(text: str, stops: list[str], size: int) -> None:
    ends = [at for stop in stops if (at := text.find(stop)) >= 0]
    given, found = read(text, stops, size)
    # A shorter stop string that is complete earlier may come before one that began earlier.
    if not ends:
        assert (given, found) == (text, None)
    else:
        assert found is not None
        assert text.startswith(given + found)
        assert len(given) >= min(ends)
