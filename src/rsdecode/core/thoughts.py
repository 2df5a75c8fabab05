"""Tells a model's thoughts from its answer."""

from __future__ import annotations

import re
from dataclasses import dataclass

_STRIPPED_HARMONY = re.compile(r"\s*analysis(?=[A-Z])")
_STRIPPED_FINAL = "assistantfinal"
_CONTROL = re.compile(r"<\|[a-zA-Z_]{2,30}\|>|</?s>|<(?:end_of_turn|eos)>")
HARMONY_FINAL = "<|channel|>final<|message|>"
"""What the answer of gpt-oss begins with."""
HARMONY_END = f"<|end|><|start|>assistant{HARMONY_FINAL}"
"""The same, with the end of the message before it."""


@dataclass(frozen=True, slots=True)
class Thoughts:
    """The marks that thoughts begin and end with.

    Attributes:
        marks: pairs of an opening and a closing mark. Harmony's messages (gpt-oss) end their
            thoughts where the final channel begins.
        opened: whether the prompt has opened the thoughts: a text without an end of them is none
            but thoughts.
    """

    marks: tuple[tuple[str, str], ...] = (
        ("<think>", "</think>"),
        ("<thinking>", "</thinking>"),
        ("<thought>", "</thought>"),
        ("<reasoning>", "</reasoning>"),
        ("◁think▷", "◁/think▷"),
        ("<|begin_of_thought|>", "<|end_of_thought|>"),
        ("<|START_THINKING|>", "<|END_THINKING|>"),
        ("[THINK]", "[/THINK]"),
        ("<seed:think>", "</seed:think>"),
        ("<|channel|>analysis<|message|>", HARMONY_END),
        ("<|channel|>commentary<|message|>", HARMONY_END),
        ("<|channel|>analysis", HARMONY_FINAL),
        ("<|channel|>commentary", HARMONY_FINAL),
        ("<|channel>thought", "<channel|>"),
    )
    opened: bool = False

    def closings(self, opening: str | None = None) -> tuple[str, ...]:
        """The marks that end thoughts which begin with `opening`; None for any."""
        return tuple(c for o, c in self.marks if opening is None or o == opening)

    def opening_of(self, text: str) -> str | None:
        """The mark that a text begins with, white space aside; None if it begins otherwise."""
        text = text.lstrip()
        found = [opening for opening, _ in self.marks if text.startswith(opening)]
        return max(found, key=len, default=None)

    def opened_by(self, prompt: str) -> str | None:
        """The mark by which a prompt opens the thoughts of its reply; None if it does not."""
        prompt = prompt.rstrip()
        found = [opening for opening, _ in self.marks if prompt.endswith(opening)]
        return max(found, key=len, default=None)

    def closed_in(self, text: str) -> bool:
        """Whether thoughts end in a text."""
        return any(closing in text for closing in self.closings())

    def answer_part(self, text: str) -> str | None:
        """What follows the last end of thoughts; None if thoughts never end.

        The opening mark may be missing, as some templates open the thoughts in the prompt. Of
        harmony's messages without their control tokens, `analysis...assistantfinal...`, the marks
        are these words, if such thoughts are looked for at all.
        """
        end = 0
        for _, closing in self.marks:
            at = text.rfind(closing)
            if at >= 0:
                end = max(end, at + len(closing))
        rest = text[end:]
        if any(opening in rest for opening, _ in self.marks):
            return None
        harmony = any(opening.startswith("<|channel|>") for opening, _ in self.marks)
        if harmony and end == 0 and _STRIPPED_HARMONY.match(text):
            _, found, rest = text.rpartition(_STRIPPED_FINAL)
            if not found:
                return None
        elif self.opened and end == 0:
            return None
        return _CONTROL.sub("", rest)


THOUGHTS = Thoughts()
"""The marks of the usual models."""


def default_closing(mark: str) -> str:
    r"""What ends thoughts, where no template tells: `\n</think>\n\n`, `[/THINK]`."""
    if mark == HARMONY_FINAL:
        return HARMONY_END
    return f"\n{mark}\n\n" if mark.startswith("</") else mark
