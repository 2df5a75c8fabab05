from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsdecode.core.segment import PARAGRAPH, parse_boundary
from rsdecode.core.thought_steps import (
    UNTIL_CLOSED,
    ThoughtRule,
    parse_thought_rule,
    thinking_boundary,
)
from rsdecode.core.thoughts import THOUGHTS


def first_step(text: str, rule: str | ThoughtRule, *, inside: bool = False) -> str | None:
    within = parse_thought_rule(rule) if isinstance(rule, str) else rule
    end = thinking_boundary(THOUGHTS, within, PARAGRAPH, inside=inside).end(text)
    return None if end is None else text[:end]


@pytest.mark.parametrize(
    ("text", "rule", "expected"),
    [
        ("<think>\nHm.\n\nSo it is.\n\nNext", "paragraphs:0", "<think>\nHm.\n\n"),
        ("<think>\nHm.\n\nSo it is.\n\nNext", "paragraphs:15", "<think>\nHm.\n\nSo it is.\n\n"),
        ("<think>\nHm.</think>\n\nIt is 4.", "paragraphs:50", "<think>\nHm.</think>"),
        ("<think>\nHm.</think>\n\nIt is 4.", "paragraphs:0", "<think>\nHm.</think>"),
        ("<think>\nIt is 4. Wait, is it?", "markers:5", "<think>\nIt is 4. Wait"),
        ("<think>\nIt is 4. Wait, is it?", "markers:50", None),
        ("<think>\nIt is 4.\nSo be it", "markers:5", "<think>\nIt is 4.\nSo"),
        ("<think>\nIt is 4.\nSome say 5. ", "markers:5", None),
        ("<think>\nIt will so be 4 or so, I think", "markers:5", None),
        ("<think>\none\ntwo", "newline", "<think>\n"),
        ("[THINK]a\n\nb</think>c[/THINK]d", UNTIL_CLOSED, "[THINK]a\n\nb</think>c[/THINK]"),
        ("It is 4.\n\nSo", "paragraphs:50", "It is 4.\n\n"),
        ("<b>It</b> is 4.\n\nSo", UNTIL_CLOSED, "<b>It</b> is 4.\n\n"),
    ],
)
def test_steps(text: str, rule: str | ThoughtRule, expected: str | None) -> None:
    assert first_step(text, rule) == expected


def test_inside_thoughts_any_mark_may_close_them() -> None:
    assert first_step("Hm.\n\nSo", "paragraphs:0", inside=True) == "Hm.\n\n"
    assert first_step("Hm</think>So", "paragraphs:0", inside=True) == "Hm</think>"
    assert first_step("Hm[/THINK]So", "paragraphs:0", inside=True) == "Hm[/THINK]"


def test_gpt_oss_thinks_until_its_final_channel() -> None:
    text = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>"
    assert first_step(text + "4", "paragraphs:50") == text


PIECES = ["<think>", "</think>", "<th", "ink>", "Hm.", " Wait,", " so", "\n\n", "\n", " ", "a b c"]


@given(
    st.lists(st.sampled_from(PIECES), max_size=14).map("".join),
    st.lists(st.integers(0, 80), max_size=8),
    st.sampled_from(["paragraphs:0", "paragraphs:9", "markers:4", "sentence"]),
    st.booleans(),
)
def test_a_step_does_not_depend_on_the_pieces(
    text: str, cuts: list[int], rule: str, inside: bool
) -> None:
    boundary = thinking_boundary(THOUGHTS, parse_thought_rule(rule), PARAGRAPH, inside=inside)
    reader, found = boundary.reader(), None
    places = sorted({min(cut, len(text)) for cut in cuts} | {0, len(text)})
    for start, end in itertools.pairwise(places):
        found = reader.add(text[start:end])
        if found is not None:
            break
    assert found == boundary.end(text)


@pytest.mark.parametrize("spec", ["paragraph", "paragraphs:x", "markers:-1", "tokens:0"])
def test_what_is_no_rule(spec: str) -> None:
    with pytest.raises(ValueError, match=r"paragraphs:N|:N with"):
        parse_thought_rule(spec)


def test_a_server_is_told_where_it_may_stop() -> None:
    rule = parse_thought_rule("markers:9", ("Wait",))
    inside = thinking_boundary(THOUGHTS, rule, parse_boundary("newline"), inside=True)
    assert {"\n\n", "Wait,", "</think>"} <= set(inside.stops)
    chunks = thinking_boundary(THOUGHTS, parse_thought_rule("tokens:8"), PARAGRAPH, inside=True)
    assert chunks.tokens == 8
