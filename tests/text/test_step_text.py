from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsdecode.core.segment import PARAGRAPH, WHOLE_ANSWER, Boundary, parse_boundary
from rsdecode.text.step_text import Detokenizer, StepText
from tests.backends.transformers import tiny

TOKENIZER = tiny.tokenizer()


def write(text: str, boundary: Boundary, prompt: tuple[int, ...] = (5,)) -> tuple[StepText, bool]:
    """Feed the tokens of a text until the step is complete."""
    step = StepText(boundary, Detokenizer(TOKENIZER, prompt))
    complete = any(step.add(token) for token in TOKENIZER.encode(text))
    return step, complete


@pytest.mark.parametrize(
    ("text", "spec", "expected"),
    [
        ("one.\n\ntwo", "separator", "one.\n\n"),
        ("one\n\ntwo", "separator", "one\n\n"),
        ("one.\n\n\n\ntwo", "separator", "one.\n\n"),
        ("\n\none\n\ntwo", "separator", "\n\none\n\n"),
        ("a b the c", "separator: t", "a b"),  # " the" crosses the boundary and is cut off
        ("one\ntwo", "newline", "one\n"),
        ("Two. Three", "sentence", "Two. "),
        ("It is 3.5. So", "sentence", "It is 3.5. "),
        ("abcdef", "tokens:4", "abcd"),
    ],
)
def test_steps(text: str, spec: str, expected: str) -> None:
    step, complete = write(text, parse_boundary(spec))
    assert complete
    assert step.text == expected
    assert TOKENIZER.decode(step.ids) == expected


def test_a_single_token_that_crosses_the_boundary_stays() -> None:
    step, complete = write(" the", Boundary(("h",)))
    assert complete
    assert (step.text, len(step.ids)) == (" the", 1)


def test_the_separator_may_come_in_pieces() -> None:
    newline = TOKENIZER.convert_tokens_to_ids("\u010a")
    step = StepText(PARAGRAPH, Detokenizer(TOKENIZER, ()))
    assert not step.add(TOKENIZER.encode("x")[0])
    assert not step.add(newline)
    assert step.add(newline)
    assert step.text == "x\n\n"


@given(st.text(min_size=1))
def test_text_and_ids_agree(text: str) -> None:
    step, _ = write(text, PARAGRAPH)
    assert TOKENIZER.decode(step.ids) == step.text
    assert text.startswith(step.text)


@given(st.text().filter(lambda text: not text.endswith("\ufffd")))
def test_whole_answers_are_never_cut(text: str) -> None:
    """But for the replacement character at the end: it looks like half a character."""
    step, complete = write(text, WHOLE_ANSWER)
    assert not complete
    assert step.text == text


def test_characters_of_several_tokens_appear_when_they_are_complete() -> None:
    step = StepText(WHOLE_ANSWER, Detokenizer(TOKENIZER, ()))
    seen: list[str] = []
    for token in TOKENIZER.encode("ä→"):
        step.add(token)
        seen.append(step.text)
    assert seen == ["", "ä", "ä", "ä", "ä→"]


@given(st.text(alphabet="aä→日😀 \n", min_size=1), st.integers(0, 80))
def test_a_text_that_is_cut_anywhere_goes_on_where_it_was_cut(text: str, cut: int) -> None:
    ids = TOKENIZER.encode(text)
    first = StepText(WHOLE_ANSWER, Detokenizer(TOKENIZER, ()))
    for token in ids[:cut]:
        first.add(token)
    second = StepText(WHOLE_ANSWER, Detokenizer(TOKENIZER, tuple(ids[:cut])))
    for token in ids[cut:]:
        second.add(token)
    assert first.text + second.text == text
