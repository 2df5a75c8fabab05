"""Tells a model's thoughts from its answer."""

from __future__ import annotations

import re
from dataclasses import dataclass

_STRIPPED_HARMONY = re.compile(r"\s*analysis(?=[A-Z])")
_STRIPPED_FINAL = "assistantfinal"
_CONTROL = re.compile(r"<\|[a-zA-Z_]{2,30}\|>|</?s>|<(?:end_of_turn|eos)>")


@dataclass(frozen=True, slots=True)
class Thoughts:
    """The marks that thoughts begin and end with.

    Attributes:
        marks: pairs of an opening and a closing mark. Harmony's messages (gpt-oss) end their
            thoughts where the final channel begins.
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
        ("<|channel|>analysis", "<|channel|>final<|message|>"),
        ("<|channel|>commentary", "<|channel|>final<|message|>"),
        ("<|channel>thought", "<channel|>"),
    )

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
        return _CONTROL.sub("", rest)


THOUGHTS = Thoughts()
"""The marks of the usual models."""
