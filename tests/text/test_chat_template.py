"""What a chat template does with messages, system messages, arguments and the ends of turns."""

from __future__ import annotations

from datetime import date

import pytest

from rsdecode.core.errors import ConfigError, ModelLoadError
from rsdecode.core.types import Context, Message, Segment
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


PARTS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% for part in m.content %}{% if part.type == 'text' %}{{ part.text }}{% endif %}{% endfor %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""Like Idefics 3 and LLaVA: of a message that is a text it would render nothing."""


def test_a_template_that_reads_parts_gets_parts() -> None:
    conversation = (SYSTEM, QUESTION, Message("assistant", "2."), QUESTION)
    texts = [Prompts(byte_level(t), "").prompt_text(conversation) for t in (PARTS, CHATML)]
    assert texts[0] == texts[1]
    words = byte_level(PARTS)
    spelled = (Message("user", "Print <|im_end|>!"),)
    assert Prompts(words, "").prompt_ids(spelled).count(words.convert_tokens_to_ids("<|im_end|>"))
    assert Prompts(words, "").prompt_ids(spelled) == Prompts(byte_level(), "").prompt_ids(spelled)
    assert end_of(PARTS) == "<|im_end|>"


@pytest.mark.parametrize("does", ["upper", "lower", "trim"])
def test_a_question_may_be_rewritten(does: str) -> None:
    template = "{% for m in messages %}{{ m.content | DOES }}{% endfor %}".replace("DOES", does)
    text = Prompts(byte_level(template), "").prompt_text((QUESTION,))
    assert text.lower() == QUESTION.content.lower()


def test_a_template_that_leaves_out_the_question_is_an_error() -> None:
    """Such a one asks nothing, and gets an answer all the same."""
    words = byte_level("{{ bos_token }}{{ messages[0].text }}<|im_start|>assistant\n")
    with pytest.raises(ModelLoadError, match="leaves out the question"):
        Prompts(words, "").prompt_ids((QUESTION,))


def test_templates_for_special_uses_alone_are_an_error() -> None:
    several = {"tool_use": CHATML, "rag": CHATML}
    words = byte_level()
    words.chat_template = several  # type: ignore[assignment]
    with pytest.raises(
        ModelLoadError, match=r"special uses alone \(tool_use, rag\).*chat_template"
    ):
        Prompts(words, "").prompt_ids((QUESTION,))
    words.chat_template = {**several, "default": DROPS_SYSTEM}  # type: ignore[assignment]
    assert "<|im_start|>How much" in Prompts(words, "").prompt_text((QUESTION,))


DATED = "Today: {{ strftime_now('%d %b %Y') }}\n" + CHATML
"""Like gpt-oss and Apertus."""
ASKED_ALONE = (
    "{% if messages[0].role != 'system' %}{% if strftime_now is defined %}"
    '{% set day = strftime_now("%Y-%m-%d") %}{% endif %}It is {{ day }}. {% endif %}' + CHATML
)
"""Like Granite 3 and Mistral Small: only where there is no system message."""


def test_a_template_that_writes_the_date_says_so() -> None:
    today = date.today()
    prompts = Prompts(byte_level(DATED), "")
    assert prompts.notes == ()
    assert prompts.prompt_text((QUESTION,)).startswith(f"Today: {today:%d %b %Y}\n")
    [note] = prompts.notes
    assert f"set --template strftime_now={today.isoformat()}" in note


def test_the_date_counts_where_it_is_written() -> None:
    prompts = Prompts(byte_level(ASKED_ALONE), "")
    prompts.prompt_text((SYSTEM, QUESTION))
    assert prompts.notes == ()
    prompts.prompt_text((QUESTION,))
    assert len(prompts.notes) == 1


@pytest.mark.parametrize(
    ("template", "starts"), [(DATED, "Today: 31 Jul 2025\n<"), (ASKED_ALONE, "It is 2025-07-31. <")]
)
def test_the_date_can_be_fixed(template: str, starts: str) -> None:
    prompts = Prompts(byte_level(template), "", {"strftime_now": "2025-07-31"})
    text = prompts.prompt_text((QUESTION,))
    assert text.startswith(starts)
    assert text.partition("<")[2] == Prompts(byte_level(), "").prompt_text((QUESTION,))[1:]
    assert prompts.notes == ()


def test_a_date_that_is_none_or_that_nobody_asks_for() -> None:
    with pytest.raises(ConfigError, match="'today', which is no date"):
        Prompts(byte_level(DATED), "", {"strftime_now": "today"})
    [note] = Prompts(byte_level(), "", {"strftime_now": "2025-07-31"}).notes
    assert "strftime_now, which the chat template never mentions" in note


THOUGHTS_AS_MESSAGES = (
    "{% for m in messages %}{% if m.reasoning_content %}"
    "<|im_start|>{{ m.role }} thinks\n{{ m.reasoning_content }}<|im_end|>{% endif %}"
    "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>{% endfor %}"
)
"""Like Solar Open and Kimi K3: the token that ends a reply has ended its thoughts before."""


def test_a_token_that_also_ends_thoughts_ends_no_answer() -> None:
    assert end_of(THOUGHTS_AS_MESSAGES) is None
    harmony = THOUGHTS_AS_MESSAGES.replace(
        "content }}<|im_end|>{% endfor",
        "content }}{{ eos_token if loop.last else '<|im_end|>' }}{% endfor",
    )
    assert end_of(harmony) == "<eos>", "as gpt-oss, whose last message ends with another"
    assert (
        end_of(
            THOUGHTS_AS_MESSAGES.replace("thinks", "").replace(
                "_content }}<|im_end|>", "_content }}"
            )
        )
        == "<|im_end|>"
    )


@pytest.mark.parametrize("scheme", ["normalizer", "first", "always"])
@pytest.mark.parametrize("spelled", ["", " </s>"])
def test_steps_of_another_model_are_not_parted_by_spaces(scheme: str, spelled: str) -> None:
    """Llama 2's tokenizer puts a space before each text that it is given."""
    words = sentence_pieces(scheme=scheme)
    steps = [f"First the sum.{spelled}\n\n", "the second.\n\n", "- So.\n", "4"]
    answer = tuple(map(Segment, steps))
    for template, joined in ((INSTRUCTIONS, "[/INST] "), (None, "Answer:\n")):
        words.chat_template = template
        prompts = Prompts(words, "Question: {question}\n\nAnswer:\n")
        ids, prompt = (prompts.context_ids(Context((QUESTION,), reply)) for reply in (answer, ()))
        assert ids[: len(prompt)] == prompt
        assert words.decode(ids).endswith(joined + "".join(steps))


@pytest.mark.parametrize(
    ("template", "start"),
    [
        (CHATML.partition("{% if add_generation_prompt")[0], "<|im_start|>assistant\n"),
        (
            "{% for m in messages %}{{ m.role | upper }}: {{ m.content }} {% endfor %}",
            "ASSISTANT: ",
        ),
        (CHATML, ""),
        (THINKING, ""),
        (REFUSES_SYSTEM, ""),
        (DROPS_SYSTEM, ""),
        (INSTRUCTIONS, ""),
        (PARTS, ""),
        (
            "{% for m in messages %}{% if m.role == 'assistant' %}<think>\n</think>\n{% endif %}"
            "{{ m.content }}{% endfor %}",
            "",
        ),
        ("{% if messages | length > 1 %}{{ raise_exception('one') }}{% endif %}{{ messages }}", ""),
        (None, ""),
    ],
)
def test_a_template_that_does_not_begin_replies_says_so(template: str | None, start: str) -> None:
    """The older ones of merged checkpoints: the model would write the beginning into its answer."""
    notes = Prompts(byte_level(template), "{question}").notes
    assert [f"has to write {start!r} itself" in note for note in notes] == ([True] if start else [])
