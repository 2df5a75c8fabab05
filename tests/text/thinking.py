"""Templates that treat thoughts as those of well-known models do, on tiny tokenizers."""

from __future__ import annotations

from typing import Any, NamedTuple

from tokenizers import AddedToken

from tests.text.tokenizers import byte_level

_CHATML = "<|im_start|>{{ m.role }}\n"
QWEN3 = (
    "{% for m in messages %}{% if m.role == 'assistant' %}"
    "{% set thought = m.reasoning_content if m.reasoning_content is string else '' %}"
    "{% set text = m.content %}"
    "{% if not thought and '</think>' in text %}"
    "{% set thought = text.split('</think>')[0].split('<think>')[-1] %}"
    "{% set text = text.split('</think>')[-1].lstrip('\n') %}{% endif %}"
    + _CHATML
    + "{% if loop.last %}<think>\n{{ thought.strip('\n') }}\n</think>\n\n{{ text }}"
    "{% else %}{{ text }}{% endif %}<|im_end|>\n"
    "{% else %}" + _CHATML + "{{ m.content }}<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}"
    "<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
"""Keeps thoughts of the last message alone, whether they have a field of their own or not."""
R1 = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'assistant' %}"
    "<|Assistant|>{{ m.content.split('</think>')[-1] }}{{ eos_token }}"
    "{% else %}<|User|>{{ m.content }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|Assistant|><think>\n{% endif %}"
)
"""Opens thoughts in the prompt, and cuts them from all messages."""
GPT_OSS = (
    "<|start|>system<|message|>Reasoning: {{ reasoning_effort or 'medium' }}<|end|>"
    "{% for m in messages %}{% if m.role == 'assistant' %}"
    "{% if m.thinking and loop.last and not add_generation_prompt %}"
    "<|start|>assistant<|channel|>analysis<|message|>{{ m.thinking }}<|end|>{% endif %}"
    "<|start|>assistant<|channel|>final<|message|>{{ m.content }}<|return|>"
    "{% else %}<|start|>{{ m.role }}<|message|>{{ m.content }}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant{% endif %}"
)
MAGISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'assistant' %}"
    "{% if m.content is string %}{{ m.content }}{% else %}{% for part in m.content %}"
    "{% if part.type == 'thinking' %}[THINK]{{ part.thinking }}[/THINK]"
    "{% else %}{{ part.text }}{% endif %}{% endfor %}{% endif %}{{ eos_token }}"
    "{% else %}[INST]{{ m.content }}[/INST]{% endif %}{% endfor %}"
)
SMOLLM3 = (
    "{% set on = enable_thinking if enable_thinking is defined else true %}"
    "{% for m in messages %}{% if m.role == 'assistant' %}"
    "<|im_start|>assistant\n{{ m.content.lstrip('\n') }}<|im_end|>\n"
    "{% else %}" + _CHATML + "{{ m.content }}<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if not on %}<think>\n\n</think>\n{% endif %}{% endif %}"
)


class Family(NamedTuple):
    """A model's template, and what is to be found out about it.

    Attributes:
        special: tokens that it has besides those of the tiny tokenizer.
        opened: by the prompt.
        closing: of thoughts.
        thoughts: as the model writes them, up to their end.
    """

    template: str
    special: tuple[str, ...]
    opened: str
    closing: str
    thoughts: str

    def tokenizer(self) -> Any:
        words: Any = byte_level(self.template)
        words.add_tokens([AddedToken(t, special=True, normalized=False) for t in self.special])
        return words


_THOUGHTS = "Is it 3?\n\nWait, 1 + 2 is 3.\n"
_HARMONY = ("<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|return|>")
_FINAL = "<|end|><|start|>assistant<|channel|>final<|message|>"
FAMILIES = {
    "qwen3": Family(QWEN3, (), "", "\n</think>\n\n", f"<think>\n{_THOUGHTS}</think>"),
    "r1": Family(
        R1, ("<|User|>", "<|Assistant|>"), "<think>", "\n</think>\n\n", f"{_THOUGHTS}</think>"
    ),
    "gpt-oss": Family(
        GPT_OSS, _HARMONY, "", _FINAL, f"<|channel|>analysis<|message|>{_THOUGHTS}{_FINAL}"
    ),
    "magistral": Family(
        MAGISTRAL,
        ("[INST]", "[/INST]", "[THINK]", "[/THINK]"),
        "",
        "[/THINK]",
        f"[THINK]{_THOUGHTS}[/THINK]",
    ),
    "smollm3": Family(SMOLLM3, (), "", "\n</think>\n", f"<think>\n{_THOUGHTS}</think>"),
}
