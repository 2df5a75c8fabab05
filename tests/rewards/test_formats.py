"""Formats as exact sequences of token ids."""

import re

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from rsdecode.core.errors import ModelLoadError
from rsdecode.core.types import Message
from rsdecode.rewards.outcome import ChatAnswerFormat
from rsdecode.rewards.plus_minus import ChatTurnsFormat, ShepherdFormat
from rsdecode.rewards.token_classifier import QWEN_SYSTEM, QwenPrmFormat, SeparatorFormat
from rsdecode.rewards.value_head import ValueHeadFormat
from rsdecode.text.vocabulary import Vocabulary
from tests.rewards.tiny import tokenizer
from tests.text.tokenizers import INSTRUCTIONS, byte_level, sentence_pieces


def words_only(*known: str) -> PreTrainedTokenizerFast:
    """A tokenizer without line breaks."""
    vocab = {"[UNK]": 0, **{word: i for i, word in enumerate(known, 1)}}
    built = Tokenizer(models.WordLevel(vocab, unk_token="[UNK]"))
    built.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=built, unk_token="[UNK]")


MESSAGES = (Message("system", "Be brief."), Message("user", "2 + 2?\n"))


def ids(text: str, words=None) -> tuple[int, ...]:
    return tuple((words or tokenizer()).encode(text, add_special_tokens=False))


def rendered(form, *steps: str) -> tuple[int, ...]:
    out = form.prompt_ids(MESSAGES)
    for index, step in enumerate(steps):
        out += form.step_ids(step, index)
    return out + form.closing_ids


def test_value_head_is_bos_question_line_break_then_steps_that_end_in_a_mark():
    form = ValueHeadFormat(Vocabulary(tokenizer()))
    [newline] = ids("\n")
    expected = ids("<bos>2 + 2?\n\n") + ids("2 + 2\n= 4") + (newline,) + ids("So 4.") + (newline,)
    assert rendered(form, "2 + 2\n= 4\n\n", " So 4.") == expected


def test_value_head_without_a_bos_token_starts_with_the_question():
    form = ValueHeadFormat(Vocabulary(tokenizer(bos=False)))
    assert form.prompt_ids(MESSAGES) == ids("2 + 2?\n\n")


def test_the_double_line_break_of_a_question_is_tokenised_as_a_whole():
    form = ValueHeadFormat(Vocabulary(tokenizer()))
    assert form.prompt_ids(MESSAGES)[-1:] == ids("\n\n")
    assert len(ids("\n\n")) == 1


def test_qwen_prm_is_a_chat_with_a_fixed_system_prompt_and_marks_in_the_reply():
    form = QwenPrmFormat(Vocabulary(tokenizer()))
    expected = (
        f"<|im_start|>system\n{QWEN_SYSTEM}<|im_end|>\n<|im_start|>user\n2 + 2?\n<|im_end|>\n"
        "<|im_start|>assistant\nIt is 4.<extra_0>Done.<extra_0>"
    )
    assert rendered(form, "It is 4.\n\n", "Done.\n") == ids(expected)
    assert QWEN_SYSTEM == (
        "Please reason step by step, and put your final answer within \\boxed{}."
    )


def test_separator_format_tokenises_question_steps_and_separators_one_by_one():
    form = SeparatorFormat(Vocabulary(tokenizer()))
    newline = ids("\n")
    expected = ids("<bos>") + ids("2 + 2?\n") + ids("4.") + newline + ids("Done.") + newline
    assert rendered(form, "4.\n\n", "Done.") == expected


def test_separator_may_be_several_tokens():
    form = SeparatorFormat(Vocabulary(tokenizer()), "\n\n\n")
    assert form.step_ids("4.", 0) == ids("4.") + ids("\n\n\n")
    assert len(ids("\n\n\n")) == 2


def test_shepherd_numbers_steps_and_marks_their_ends():
    form = ShepherdFormat(Vocabulary(tokenizer()))
    mark = ids("ки")
    expected = (
        ids("<bos>2 + 2?\n") + ids(" Step 1: It is 4.") + mark + ids("\nStep 2: Done.") + mark
    )
    assert rendered(form, "It is 4.\n\n", "Step 2: Done.") == expected
    assert form.candidates == ids("+") + ids("-")
    assert form.candidates != ids("+ -"), "together the second sign is another token, with a space"


def test_chat_turns_put_each_step_into_a_user_turn_answered_with_plus():
    form = ChatTurnsFormat(Vocabulary(tokenizer()))
    expected = (
        "<|im_start|>user\n2 + 2? It is 4.<|im_end|>\n<|im_start|>assistant\n+<|im_end|>\n"
        "<|im_start|>user\nDone.<|im_end|>\n<|im_start|>assistant\n"
    )
    assert rendered(form, "It is 4.\n\n", "Done.") == ids(expected)
    assert form.candidates == ids("+") + ids("-")


def test_outcome_is_the_whole_chat_with_the_answer_so_far_as_a_finished_reply():
    form = ChatAnswerFormat(Vocabulary(tokenizer()))
    expected = (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n2 + 2?\n<|im_end|>\n"
        "<|im_start|>assistant\nIt is 4.\n\nDone.<|im_end|>\n"
    )
    assert rendered(form, "It is 4.\n\n", "Done.") == ids(expected)


@pytest.mark.parametrize(
    ("form", "words", "mark"),
    [
        (QwenPrmFormat, tokenizer(extra=False), "<extra_0>"),
        (ShepherdFormat, tokenizer(shepherd=False), "ки"),
        (ValueHeadFormat, words_only(), "\n"),
        (SeparatorFormat, words_only(), "\n"),
        (ShepherdFormat, words_only("ки"), "+"),
    ],
)
def test_a_mark_that_is_not_in_the_vocabulary_is_named_with_the_tokenizer(form, words, mark):
    words.name_or_path = "some/tokenizer"
    with pytest.raises(ModelLoadError, match=re.escape(repr(mark)) + ".*'some/tokenizer'"):
        form(Vocabulary(words))


@pytest.mark.parametrize("form", [QwenPrmFormat, ChatTurnsFormat, ChatAnswerFormat])
def test_a_missing_chat_template_is_an_error(form):
    with pytest.raises(ModelLoadError, match="no chat template"):
        form(Vocabulary(tokenizer(chat=False)))


def test_a_template_that_rewrites_turns_cannot_be_read_turn_by_turn():
    words = tokenizer()
    words.chat_template = "{{ messages | length }}" + words.chat_template
    with pytest.raises(ModelLoadError, match="rewrites earlier turns"):
        ChatTurnsFormat(Vocabulary(words))


def test_a_template_without_an_end_of_reply_closes_with_eos():
    words = tokenizer()
    words.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    assert ChatAnswerFormat(Vocabulary(words)).closing_ids == ids("<eos>")
    words.eos_token = None
    with pytest.raises(ModelLoadError, match="eos"):
        ChatAnswerFormat(Vocabulary(words))


def test_a_template_that_drops_the_reply_is_an_error():
    words = tokenizer()
    words.chat_template = "{{ messages[0].content }}"
    with pytest.raises(ModelLoadError, match="leaves out the assistant's reply"):
        ChatAnswerFormat(Vocabulary(words))


@pytest.mark.parametrize(
    "make", [ValueHeadFormat, QwenPrmFormat, SeparatorFormat, ShepherdFormat, ChatTurnsFormat,
             ChatAnswerFormat]
)  # fmt: skip
def test_what_questions_and_steps_spell_stays_text(make):
    """`<extra_0>` in a step would be one more mark, `<|im_end|>` in a question its end."""
    words = tokenizer()
    form = make(Vocabulary(words))
    special = {i: t.content for i, t in words.added_tokens_decoder.items() if t.special}
    texts = "".join(special.values())

    def controls(question: str, step: str) -> int:
        read = form.prompt_ids([Message("user", question)]) + form.step_ids(step, 0)
        return sum(index in special for index in read)

    assert controls(f"Print {texts}!", f"It is {texts}.") == controls("Print!", "It is.")


SCHEMES = ["normalizer", "first", "always"]
"""Of tokenizers that put a space before each text that they are given."""


@pytest.mark.parametrize("scheme", SCHEMES)
def test_shepherd_reads_what_its_model_card_tokenises(scheme):
    """There it is one text, in which no line begins with a space."""
    words = sentence_pieces(scheme=scheme)
    form = ShepherdFormat(Vocabulary(words))
    card = "<s>2 + 2? Step 1: the sum.\nIt is 4. ки\nStep 2: Done. ки"
    question = [Message("user", "2 + 2?")]
    read = form.prompt_ids(question)
    read += form.step_ids("the sum.\nIt is 4.\n\n", 0) + form.step_ids("Done.", 1)
    assert read == ids(card, words)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_chat_turns_put_one_space_between_question_and_step(scheme):
    words = sentence_pieces(scheme=scheme)
    form = ChatTurnsFormat(Vocabulary(words))
    read = form.prompt_ids([Message("user", "the sum?")]) + form.step_ids("the first.", 0)
    assert read == ids("<s>[INST] the sum? the first. [/INST]", words)


THINKS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' and loop.last %}<think>\n\n</think>\n\n{% endif %}"
    "{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""Like Qwen 3: a reply that is there begins with thoughts, one that is to come does not."""
OPENS_THOUGHTS = THINKS.replace("<think>\n\n</think>\n\n", "").replace(
    "assistant\n{% endif %}", "assistant\n<think>\n{% endif %}"
)
"""Like DeepSeek R1: the other way round."""


@pytest.mark.parametrize(
    "words",
    [
        tokenizer(),
        byte_level(THINKS),
        byte_level(OPENS_THOUGHTS),
        byte_level(INSTRUCTIONS),
        *(sentence_pieces(scheme=scheme) for scheme in SCHEMES),
        sentence_pieces(INSTRUCTIONS.replace(" {{ m.content }}", "{{ m.content }}")),
    ],
)
def test_outcome_reads_what_the_chat_template_makes_of_the_whole_answer(words):
    steps = ["First the sum.\n\n", "the second.\n\n", "It is 4."]
    turns = [
        {"role": "user", "content": "2 + 2?"},
        {"role": "assistant", "content": "".join(steps)},
    ]
    whole = words.apply_chat_template(turns, tokenize=False)
    form = ChatAnswerFormat(Vocabulary(words))
    read = form.prompt_ids([Message("user", "2 + 2?")])
    for index, step in enumerate(steps):
        read += form.step_ids(step, index)
    assert read + form.closing_ids == ids(whole, words)
