from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsdecode.core.segment import PARAGRAPH, SENTENCE_ENDS, WHOLE_ANSWER, Boundary, parse_boundary

EMPTY_LINE = parse_boundary("separator:\\n\\n")
TEXTS = st.text(alphabet="ab.!# \n;", max_size=60)
BOUNDARIES = st.sampled_from(
    [
        PARAGRAPH,
        EMPTY_LINE,
        WHOLE_ANSWER,
        parse_boundary("newline"),
        parse_boundary("sentence"),
        parse_boundary("separator:##"),
        parse_boundary("separator: ; "),
        parse_boundary("separator:aba"),
        parse_boundary("tokens:3"),
    ]
)


def content(text: str, boundary: Boundary) -> str:
    """What is left of a text without its separators and white space."""
    for stop in sorted(boundary.stops, key=len, reverse=True):
        text = text.replace(stop, "")
    return text.strip()


@given(BOUNDARIES, TEXTS)
def test_the_steps_joined_are_the_text(boundary: Boundary, text: str) -> None:
    steps = boundary.split(text)
    assert "".join(steps) == text
    assert all(steps)


@given(BOUNDARIES, TEXTS)
def test_no_step_of_several_is_a_separator_alone(boundary: Boundary, text: str) -> None:
    steps = boundary.split(text)
    for step in steps if len(steps) > 1 else []:
        assert step.strip()
        assert step not in boundary.stops


@given(st.sampled_from([EMPTY_LINE, parse_boundary("newline"), parse_boundary("sentence")]), TEXTS)
def test_each_step_ends_in_its_separator_and_has_no_other(boundary: Boundary, text: str) -> None:
    for step in boundary.split(text)[:-1]:
        assert step.endswith(boundary.stops)
        assert boundary.end(step) == len(step)


@given(BOUNDARIES, TEXTS, st.text(alphabet="ab.# \n", max_size=10))
def test_a_step_that_has_ended_stays_ended(boundary: Boundary, text: str, more: str) -> None:
    end = boundary.end(text)
    if end is not None:
        assert boundary.end(text[:end]) == end
        assert boundary.end(text + more) == end


def test_the_separator_belongs_to_the_step_that_it_ends() -> None:
    assert PARAGRAPH.split("a\n\nb\nc\n\nd") == ["a\n\n", "b\nc\n\n", "d"]


def test_white_space_before_and_after_makes_no_step() -> None:
    assert PARAGRAPH.split("\n\na\n\n\n\nb\n\n  \n\n") == ["\n\na\n\n", "\n\nb\n\n  \n\n"]
    assert PARAGRAPH.split("\n\n") == ["\n\n"]
    assert PARAGRAPH.split("") == []


def test_separators_that_are_not_white_space_make_no_step_either() -> None:
    assert Boundary(("###",)).split("###a### ###b######") == ["###a###", " ###b######"]
    assert Boundary((" ; ",)).split(" ; a ; b") == [" ; a ; ", "b"]


def test_a_separator_that_comes_in_two_pieces() -> None:
    assert PARAGRAPH.end("a\n") is None
    assert PARAGRAPH.end("a\n" + "\nb") == 3


def test_the_first_of_several_stops_ends_the_step() -> None:
    assert parse_boundary("sentence").split("Is it? Yes! It\nis.\nSo 3.5 is\n\nright.") == [
        "Is it? ",
        "Yes! ",
        "It\nis.\n",
        "So 3.5 is\n\n",
        "right.",
    ]


@pytest.mark.parametrize(
    ("spec", "boundary"),
    [
        ("separator", PARAGRAPH),
        ("separator:\\n\\n", Boundary(("\n\n",))),
        ("separator:\\n---\\n", Boundary(("\n---\n",))),
        ("separator:a:b", Boundary(("a:b",))),
        ("separator:。", Boundary(("。",))),
        ("separator:é\\t", Boundary(("é\t",))),
        ("newline", Boundary(("\n",))),
        ("sentence", Boundary((*SENTENCE_ENDS, "\n\n"))),
        ("tokens:1", Boundary(tokens=1)),
        ("tokens:64", Boundary(tokens=64)),
    ],
)
def test_specs(spec: str, boundary: Boundary) -> None:
    assert parse_boundary(spec) == boundary


@pytest.mark.parametrize(
    "spec",
    [
        "",
        "tokens",
        "tokens:",
        "tokens:0",
        "tokens:-1",
        "tokens:x",
        "newline:x",
        "newline:",
        "sentences",
    ],
)
def test_unknown_specs(spec: str) -> None:
    with pytest.raises(ValueError, match=f"unknown step boundary {spec!r}.*tokens:K"):
        parse_boundary(spec)


def test_a_separator_without_its_text() -> None:
    with pytest.raises(ValueError, match="'separator:' names no text: leave out the colon"):
        parse_boundary("separator:")


def test_a_broken_escape_is_named() -> None:
    with pytest.raises(ValueError, match=r"separator '\\\\x1' has a broken escape"):
        parse_boundary("separator:\\x1")


def test_impossible_boundaries() -> None:
    with pytest.raises(ValueError, match="tokens:-1 must be"):
        Boundary(tokens=-1)
    with pytest.raises(ValueError, match="must not be empty"):
        Boundary(("",))
