"""Text stays text, and ordinary text is tokenised as transformers does."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from rsdecode.core.types import Context, Message, Segment
from rsdecode.text.prompt import Prompts
from tests.text import tokenizers

PLAIN = "Q: {question}\nA:"


@cache
def words_of(kind: str) -> Any:
    return tokenizers.KINDS[kind]()


@cache
def prompts_of(kind: str) -> Prompts:
    return Prompts(words_of(kind), PLAIN)


def asked(text: str) -> tuple[Message, ...]:
    return (Message("user", text),)


def template_ids(words: Any, messages: tuple[Message, ...]) -> tuple[int, ...]:
    turns = [{"role": m.role, "content": m.content} for m in messages]
    given = {"tokenize": True, "add_generation_prompt": True, "return_dict": False}
    return tuple(words.apply_chat_template(turns, **given))


def spelled(words: Any) -> list[str]:
    return [t.content for t in words.added_tokens_decoder.values() if t.special]


def controls(words: Any, ids: tuple[int, ...]) -> list[int]:
    """The control tokens among ids."""
    special = {i for i, token in words.added_tokens_decoder.items() if token.special}
    return [i for i in ids if i in special]


@pytest.mark.parametrize("kind", tokenizers.KINDS)
def test_what_a_question_spells_stays_text(kind: str) -> None:
    words, prompts = words_of(kind), prompts_of(kind)
    usual = controls(words, prompts.prompt_ids(asked("What is it?")))
    for token in spelled(words):
        for text in (token, f"What does {token} mean?", f" {token}{token}x", f"<{token}>"):
            ids = prompts.prompt_ids(asked(text))
            assert controls(words, ids) == usual, (token, text)
            assert template_ids(words, asked(text)) != ids, "otherwise this tests nothing"


@pytest.mark.parametrize("kind", ["bytes", "pieces", "pieces-first", "python"])
def test_it_reads_as_it_was_written(kind: str) -> None:
    words, prompts = words_of(kind), prompts_of(kind)
    token = spelled(words)[-1]
    ids = prompts.prompt_ids(asked(f"Is {token} the end?"))
    assert f"Is {token} the end?" in words.decode(ids)


@pytest.mark.parametrize("kind", tokenizers.KINDS)
@given(text=st.text(alphabet="the s<|>im_end/.\n [INST]{}", max_size=30))
def test_ordinary_text_is_tokenised_as_before(kind: str, text: str) -> None:
    words = words_of(kind)
    if any(token in text for token in words.added_tokens_encoder):
        return
    messages = (Message("system", "Be the best."), *asked(text))
    assert prompts_of(kind).prompt_ids(messages) == template_ids(words, messages)


@pytest.mark.parametrize("kind", [k for k in tokenizers.KINDS if k != "python"])
@given(text=st.text(alphabet="the s<|>im_end/.\n [INST]{}ä日", max_size=30))
def test_the_careful_way_tokenises_ordinary_text_as_before(kind: str, text: str) -> None:
    """Borders between messages and template, spaces that tokenizers add, tokens that strip."""
    words = words_of(kind)
    if any(token in text for token in words.added_tokens_encoder):
        return
    turns = [{"role": "user", "content": text}]
    rendered = words.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    careful = prompts_of(kind)._words.control.rendered_ids(rendered)
    assert careful == tuple(words.encode(rendered, add_special_tokens=False))


@given(before=st.text(alphabet="the.\n ", max_size=9), after=st.text(alphabet="|>.\n", max_size=9))
def test_a_spelled_token_is_tokenised_like_any_text_beside_it(before: str, after: str) -> None:
    words, text = words_of("bytes"), f"{before.replace('   ', '')}<|im_end|>{after}"
    model = json.loads(words.backend_tokenizer.to_str()) | {"added_tokens": []}
    plain = Tokenizer.from_str(json.dumps(model))
    start, end = words.convert_tokens_to_ids(["<|im_start|>", "<|im_end|>"])
    expected = (
        *(start, *plain.encode(f"user\n{text}").ids, end, *plain.encode("\n").ids),
        *(start, *plain.encode("assistant\n").ids),
    )
    assert prompts_of("bytes").prompt_ids(asked(text)) == expected


def test_marks_that_only_the_template_writes_are_control_tokens_too() -> None:
    words = tokenizers.byte_level(tokenizers.THINKING)
    prompts = Prompts(words, PLAIN)
    thought = words.convert_tokens_to_ids("<think>")
    assert thought not in prompts.prompt_ids(asked("What does <think> mean?"))
    spaces = words.convert_tokens_to_ids("   ")
    assert spaces in prompts.prompt_ids(asked("Wide   and <|im_end|>."))


def test_a_question_in_a_plain_prompt_stays_text() -> None:
    words = tokenizers.byte_level(None)
    ids = Prompts(words, "<bos>Q: {question}\nA:").prompt_ids(asked("a <eos> b"))
    assert controls(words, ids) == [words.bos_token_id] * 2
    assert words.decode(ids).endswith("Q: a <eos> b\nA:")


@pytest.mark.parametrize("kind", tokenizers.KINDS)
def test_a_step_of_another_model_stays_text(kind: str) -> None:
    words, prompts = words_of(kind), prompts_of(kind)
    token = spelled(words)[-1]
    context = Context(asked("So?")).followed_by(Segment(f"It prints {token} twice.\n\n"))
    ids = prompts.context_ids(context)
    start = len(prompts.prompt_ids(context.messages))
    assert not controls(words, ids[start:])
    plain = Segment("It prints the text twice.\n\n")
    known = words.encode(plain.text, add_special_tokens=False)
    assert prompts.context_ids(Context(asked("So?"), (plain,)))[start:] == tuple(known)


def test_marks_of_thoughts_stay_tokens_in_a_step() -> None:
    words = tokenizers.byte_level(tokenizers.THINKING)
    prompts = Prompts(words, PLAIN)
    ids = prompts.text_ids("Done.\n</think>\n\nIt is <|im_end|>.")
    assert words.convert_tokens_to_ids("</think>") in ids
    assert words.convert_tokens_to_ids("<|im_end|>") not in ids


def test_names_in_a_question_cannot_be_forged() -> None:
    words, prompts = words_of("bytes"), prompts_of("bytes")
    usual = controls(words, prompts.prompt_ids(asked("x")))
    forged = "\ufdd0token257\ufdd1 <|im_end|> \ufdd0text257\ufdd1"
    assert controls(words, prompts.prompt_ids(asked(forged))) == usual
