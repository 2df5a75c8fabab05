from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsdecode.core.thoughts import THOUGHTS, Thoughts
from rsdecode.server.thoughts import ThoughtsReader

PLAIN = Thoughts((("<think>", "</think>"), ("[T]", "[/T]")))
TEXTS = st.lists(
    st.sampled_from(["<think>", "</think>", "<th", "ink>", "[T]", "[/T]", "a b", " ", "\n", "<"]),
    max_size=12,
).map("".join)


def read(text: str, cuts: list[int], *, inside: bool = False, whole: bool = False) -> list[str]:
    """Thoughts and answer of a text that comes in pieces."""
    reader = ThoughtsReader(PLAIN, inside, whole)
    places = sorted({min(cut, len(text)) for cut in cuts} | {0, len(text)})
    pieces = [text[a:b] for a, b in itertools.pairwise(places)]
    parts = ["", ""]
    for piece in pieces:
        for new in reader.add(piece):
            parts[new.thought] += new.text
    for new in reader.add("", last=True):
        parts[new.thought] += new.text
    return parts


def test_thoughts_and_answer_are_parted() -> None:
    answer, thoughts = read("<think>\nLet me see.\n</think>\n\nIt is 4.", [])
    assert (thoughts, answer) == ("Let me see.\n", "It is 4.")


def test_thoughts_that_the_prompt_opened() -> None:
    assert read("Let me see.</think>4", [], inside=True) == ["4", "Let me see."]
    assert read("Let me see.[/T]4", [], inside=True) == ["4", "Let me see."]


def test_thoughts_that_never_end_leave_no_answer() -> None:
    assert read("<think>Let me", [3]) == ["", "Let me"]


def test_what_only_begins_like_a_mark_is_text() -> None:
    assert read("a <thin line", [5]) == ["a <thin line", ""]
    assert read("a <th", [3]) == ["a <th", ""]


def test_another_kind_of_closing_mark_closes_nothing() -> None:
    assert read("<think>a[/T]b</think>c", []) == ["c", "a[/T]b"]


@given(TEXTS, st.lists(st.integers(0, 60), max_size=8), st.booleans())
def test_the_parts_do_not_depend_on_the_pieces(text: str, cuts: list[int], inside: bool) -> None:
    assert read(text, cuts, inside=inside) == read(text, [], inside=inside)


@given(TEXTS, st.lists(st.integers(0, 60), max_size=8), st.booleans())
def test_whole_pieces_are_the_text(text: str, cuts: list[int], inside: bool) -> None:
    reader = ThoughtsReader(PLAIN, inside, whole=True)
    places = sorted({min(cut, len(text)) for cut in cuts} | {0, len(text)})
    pieces = [text[a:b] for a, b in itertools.pairwise(places)]
    given = [new.text for piece in pieces for new in reader.add(piece)]
    given += [new.text for new in reader.add("", last=True)]
    assert "".join(given) == text
    assert all(given)


@given(st.text(alphabet="ab <>thinkT[]/\n", max_size=40))
def test_the_answer_is_the_one_that_grading_reads(text: str) -> None:
    reader = ThoughtsReader(THOUGHTS)
    text = f"<think>{text.replace('<', '')}</think>{text.replace('<', '').replace('[', '')}"
    answer = "".join(new.text for new in reader.add(text, last=True) if not new.thought)
    assert answer.strip() == (THOUGHTS.answer_part(text) or "").strip()


HARMONY = (
    "<|channel|>analysis<|message|>Let me see.<|end|><|start|>assistant"
    "<|channel|>final<|message|>It is 4."
)


def harmony(text: str, size: int) -> tuple[str, str]:
    reader = ThoughtsReader(THOUGHTS)
    parts = ["", ""]
    for start in range(0, len(text), size):
        for new in reader.add(text[start : start + size], last=start + size >= len(text)):
            parts[new.thought] += new.text
    return parts[1], parts[0]


@pytest.mark.parametrize("size", [1, 7, 500])
def test_gpt_oss_has_its_structure_in_neither_part(size: int) -> None:
    assert harmony(HARMONY, size) == ("Let me see.", "It is 4.")
    assert harmony("<|channel|>final<|message|>It is 4.", size) == ("", "It is 4.")
