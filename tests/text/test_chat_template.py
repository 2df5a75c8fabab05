"""What a chat template does with system messages, arguments and the ends of turns."""

from __future__ import annotations

import pytest

from rsdecode.core.errors import ModelLoadError
from rsdecode.core.types import Message
from rsdecode.text.chat_template import ChatTemplate, SystemRole, with_system_before_question
from rsdecode.text.prompt import Prompts
from tests.text import tokenizers
from tests.text.tokenizers import (
    CHATML,
    DROPS_SYSTEM,
    INSTRUCTIONS,
    REFUSES_SYSTEM,
    THINKING,
    byte_level,
    sentence_pieces,
)

SYSTEM, QUESTION = Message("system", "Be brief."), Message("user", "How much is 1 + 1?")
MERGED = Message("user", "Be brief.\n\nHow much is 1 + 1?")


@pytest.mark.parametrize(
    ("template", "role"),
    [
        (CHATML, SystemRole.TAKEN),
        (INSTRUCTIONS, SystemRole.TAKEN),
        (REFUSES_SYSTEM, SystemRole.REFUSED),
        (DROPS_SYSTEM, SystemRole.DROPPED),
    ],
)
def test_the_system_role(template: str, role: SystemRole) -> None:
    assert ChatTemplate(byte_level(template)).system_role is role


@pytest.mark.parametrize("template", [REFUSES_SYSTEM, DROPS_SYSTEM])
def test_the_system_text_goes_before_the_question(template: str) -> None:
    words = byte_level(template)
    prompts = Prompts(words, "{question}")
    assert prompts.prompt_ids((QUESTION,))
    assert prompts.notes == ()
    ids = prompts.prompt_ids((SYSTEM, QUESTION))
    assert "Be brief.\n\nHow much is 1 + 1?" in words.decode(ids)
    assert ids == prompts.prompt_ids((MERGED,))
    [note] = prompts.notes
    assert "before the question" in note


def test_a_system_message_that_is_taken_is_no_news() -> None:
    prompts = Prompts(byte_level(), "{question}")
    assert prompts.notes == ()
    assert "system\nBe brief.<|im_end|>" in prompts.prompt_text((SYSTEM, QUESTION))


def test_in_a_conversation_it_goes_before_the_first_question() -> None:
    said, again = Message("assistant", "2."), Message("user", "And 2 + 2?")
    assert with_system_before_question([SYSTEM, QUESTION, said, again]) == [MERGED, said, again]
    assert with_system_before_question([SYSTEM]) == [SYSTEM]


def test_a_conversation_that_is_refused_for_another_reason_is_an_error() -> None:
    template = ChatTemplate(byte_level("{{ raise_exception('never') }}"))
    with pytest.raises(ModelLoadError, match=r"refuses the messages.*never"):
        template.render([SYSTEM, QUESTION], reply=True)


def test_arguments_reach_the_template() -> None:
    words = byte_level(THINKING)
    usual, short = (Prompts(words, "", t) for t in ({}, {"enable_thinking": False}))
    assert "<think>" not in usual.prompt_text((QUESTION,))
    assert short.prompt_text((QUESTION,)).endswith("assistant\n<think>\n\n</think>\n\n")
    closed = words.encode("<think>\n\n</think>\n\n", add_special_tokens=False)
    assert short.prompt_ids((QUESTION,))[-len(closed) :] == tuple(closed)


@pytest.mark.parametrize(
    "template",
    [
        THINKING,
        "{% set enable_thinking = enable_thinking | default(true) %}{{ enable_thinking }}",
        "{% macro m() %}{% if not enable_thinking %}x{% endif %}{% endmacro %}{{ m() }}",
        "{% for m in messages %}{% if m.role == 'system' %}{% continue %}{% endif %}"
        "{% generation %}{{ enable_thinking }}{% endgeneration %}{% endfor %}",
    ],
)
def test_arguments_that_the_template_never_mentions(template: str) -> None:
    arguments = {"enable_thinking": False, "enable_thoughts": True}
    words = byte_level(template)
    assert ChatTemplate(words, arguments).unused_arguments == ("enable_thoughts",)
    [note] = Prompts(words, "", arguments).notes
    assert note.startswith("prompt.template sets enable_thoughts, which the chat template never")


def test_arguments_without_a_template() -> None:
    [note] = Prompts(byte_level(None), "{question}", {"x": 1}).notes
    assert note.startswith("prompt.template sets x, which nothing reads")


def end_of(template: str | None, **options: object) -> str | None:
    words = byte_level(template, **options)
    end = Prompts(words, "{question}").turn_end
    return None if end is None else words.convert_ids_to_tokens(end)


TURN = "{% for m in messages %}<|im_start|>{{ m.role }}: {{ m.content }}END{% endfor %}"


@pytest.mark.parametrize(
    ("closing", "end"),
    [
        ("<|im_end|>\n", "<|im_end|>"),
        ("{{ eos_token }}", "<eos>"),
        ("\n<|im_end|>", "<|im_end|>"),
        ("\n", "<|im_start|>"),  # the next message's beginning ends this one, as in GLM-4
        ("\nend of turn<|im_end|>", None),  # ordinary text ends it
        ("</turn>", None),
    ],
)
def test_the_end_of_a_turn(closing: str, end: str | None) -> None:
    assert end_of(TURN.replace("END", closing)) == end


@pytest.mark.parametrize(
    ("template", "end"),
    [
        (None, None),
        (CHATML, "<|im_end|>"),
        (THINKING, "<|im_end|>"),
        (REFUSES_SYSTEM, "<|im_end|>"),
        (DROPS_SYSTEM, "<eos>"),
        ("{{ messages[-1].content }}", None),
        ("{% if messages[-1].role == 'assistant' %}{{ raise_exception('') }}{% endif %}", None),
        ("{% for m in messages %}{{ bos_token }}{{ m.content }}{% endfor %}", None),
    ],
)
def test_the_end_of_a_turn_by_template(template: str | None, end: str | None) -> None:
    assert end_of(template) == end


def test_an_added_token_that_is_not_special_may_end_a_turn() -> None:
    """Gemma 1 has such a one, and so have merged checkpoints."""
    words = byte_level(CHATML.replace("<|im_end|>", "</think>"))
    assert Prompts(words, "").turn_end == words.convert_tokens_to_ids("</think>")


def test_llamas_turns_end_with_the_end_of_sequence() -> None:
    words = sentence_pieces(tokenizers.INSTRUCTIONS)
    assert Prompts(words, "").turn_end == words.eos_token_id
