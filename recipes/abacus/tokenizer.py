"""The family's tokenizer: whole words of the task, single digits, bytes for everything else."""

from __future__ import annotations

import re
from functools import cache

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from rsdecode.models.abacus.generator import LEVELS, generate

BOS, EOS, PAD = "<|bos|>", "<|eos|>", "<|pad|>"
SEPARATOR = "\n\n"
MARK = "\n"

#: The blank line stands alone, so text cut after it tokenises piece by piece.
PIECES = r"\n\n|\n| ?\\boxed\{| ?[A-Za-z]+| ?[0-9]| ?[^\sA-Za-z0-9]"

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% else %}{{ '\\n' }}{% endif %}"
    "{% endfor %}"
)


#: bytes that no UTF-8 text contains
UNUSED_BYTES = (0xC0, 0xC1, *range(0xF5, 0x100))


@cache
def build_tokenizer(*, compact: bool = False) -> PreTrainedTokenizerFast:
    """Builds the tokenizer from the task's own words; the same one every time.

    Args:
        compact: Leave out the bytes that no text contains, as the exported models do. Training
            keeps them; the two give the same pieces for every text.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    if compact:
        unused = {chr(byte) for byte in UNUSED_BYTES}  # these stand for themselves in byte level
        alphabet = [letter for letter in alphabet if letter not in unused]
    entries = [*alphabet, *(word for word in _words() if word not in set(alphabet))]
    tokenizer = Tokenizer(
        models.BPE(
            vocab={entry: i for i, entry in enumerate(entries)}, merges=[], ignore_merges=True
        )
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token in (BOS, EOS, PAD)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        padding_side="left",
        clean_up_tokenization_spaces=False,
        model_max_length=2048,
        chat_template=CHAT_TEMPLATE,
    )


def _words() -> list[str]:
    """The pieces that the task is written in, in the byte-level alphabet, sorted."""
    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    found = {SEPARATOR, MARK, *(f" {digit}" for digit in range(10))}
    for level in LEVELS:
        for index in range(1500):
            problem = generate("train", level, index, seed=-1)
            text = problem.question + MARK + SEPARATOR.join(problem.steps)
            found.update(re.findall(PIECES, text))
    return sorted(to_bytes.pre_tokenize_str(word)[0][0] for word in found)
