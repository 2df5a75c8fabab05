"""Tiny tokenizers of the kinds that chat models have, and templates that behave like theirs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import ByT5Tokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""Qwen's form."""
THINKING = CHATML.replace(
    "assistant\n{% endif %}",
    "assistant\n{% if enable_thinking is defined and enable_thinking is false %}"
    "<think>\n\n</think>\n\n{% endif %}{% endif %}",
)
"""Qwen3's switch."""
REFUSES_SYSTEM = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}<|im_start|>{{ 'model' if m.role == 'assistant' else m.role }}\n"
    "{{ m.content | trim }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>model\n{% endif %}"
)
"""Like Gemma 1 and 2."""
DROPS_SYSTEM = (
    "{% for m in messages %}{% if m.role == 'user' %}<|im_start|>{{ m.content }}<|im_end|>"
    "{% elif m.role == 'assistant' %}{{ m.content }}{{ eos_token }}{% endif %}{% endfor %}"
)
"""Like the first Mistral's."""
INSTRUCTIONS = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if m.role == 'assistant' %} {{ m.content }}{{ eos_token }}"
    "{% else %}[INST] {{ m.content }} [/INST]{% endif %}{% endfor %}"
)
"""Like Llama 2: ordinary text on both sides of a message."""

SPECIAL = ("<bos>", "<eos>", "<|im_start|>", "<|im_end|>")
THOUGHTS = ("<think>", "</think>")


def byte_level(template: str | None = CHATML, **flags: Any) -> PreTrainedTokenizerFast:
    """Like Qwen: bytes, some merges across words and line ends, added tokens of both kinds.

    Args:
        template: the chat template.
        flags: of the special tokens (`AddedToken`).
    """
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("Ċ", "Ċ"), ("Ġ", "t"), ("h", "e"), ("Ġt", "he"), (".", "ĊĊ"), ("<", "|"), ("s", ">")]
    entries = [*letters, *(a + b for a, b in merges)]
    built = Tokenizer(models.BPE(vocab={e: i for i, e in enumerate(entries)}, merges=merges))
    built.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    built.decoder = decoders.ByteLevel()
    flags = {"normalized": False} | flags
    built.add_special_tokens([AddedToken(t, special=True, **flags) for t in SPECIAL])
    built.add_tokens([AddedToken(t, normalized=False) for t in (*THOUGHTS, "   ")])
    return PreTrainedTokenizerFast(
        tokenizer_object=built,
        bos_token="<bos>",
        eos_token="<eos>",
        clean_up_tokenization_spaces=False,
        chat_template=template,
    )


def _characters() -> list[str]:
    return [*map(chr, range(33, 127)), "▁", "▁t", "he", "▁the", "\n"]


def sentence_pieces(
    template: str | None = INSTRUCTIONS, *, scheme: str = "normalizer"
) -> PreTrainedTokenizerFast:
    """Like Llama 2: the control tokens are in the model's own vocabulary, bytes are its fallback.

    Args:
        template: the chat template.
        scheme: who puts a space before the text: `normalizer`, or Metaspace's `first` or `always`.
    """
    bytes_ = [f"<0x{i:02X}>" for i in range(256)]
    entries = ["<unk>", "<s>", "</s>", *bytes_, *_characters(), "к", "и", "▁к", "▁ки"]
    merges = [("▁", "t"), ("h", "e"), ("▁t", "he"), ("▁", "к"), ("▁к", "и")]
    vocabulary = {e: i for i, e in enumerate(entries)}
    model = models.BPE(vocab=vocabulary, merges=merges, unk_token="<unk>", byte_fallback=True)
    built = Tokenizer(model)
    if scheme == "normalizer":
        parts = [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
        built.normalizer = normalizers.Sequence(parts)
    else:
        built.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
    parts = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    built.decoder = decoders.Sequence(parts)
    return _with_llamas_tokens(built, template)


def unigram(template: str | None = INSTRUCTIONS) -> PreTrainedTokenizerFast:
    """Like T5 and XLM-R: a unigram model, whose vocabulary holds the control tokens."""
    entries = [("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0)]
    entries += [(c, -float(i % 7) - 2) for i, c in enumerate(_characters())]
    built = Tokenizer(models.Unigram(entries, unk_id=0))
    built.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    return _with_llamas_tokens(built, template)


def _with_llamas_tokens(built: Tokenizer, template: str | None) -> PreTrainedTokenizerFast:
    special = [AddedToken(t, special=True, normalized=False) for t in ("<unk>", "<s>", "</s>")]
    built.add_special_tokens(special)
    return PreTrainedTokenizerFast(
        tokenizer_object=built,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        clean_up_tokenization_spaces=False,
        chat_template=template,
    )


def in_python(template: str | None = INSTRUCTIONS) -> PreTrainedTokenizerBase:
    """A tokenizer that is written in Python: it has no backend to copy."""
    words = ByT5Tokenizer(extra_ids=0, bos_token="<s>")
    words.chat_template = template
    return words


KINDS: dict[str, Callable[..., Any]] = {
    "bytes": byte_level,
    "bytes-stripping": partial(byte_level, lstrip=True, rstrip=True),
    "pieces": sentence_pieces,
    "pieces-first": partial(sentence_pieces, scheme="first"),
    "pieces-always": partial(sentence_pieces, scheme="always"),
    "unigram": unigram,
    "python": in_python,
}
"""Makers of all of them; each takes `template`."""
