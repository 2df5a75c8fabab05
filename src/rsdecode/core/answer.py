"""Finds the final answer in a solution."""

from __future__ import annotations

import re

from rsdecode.core.boxes import boxed_answer
from rsdecode.core.stated import stated_answer
from rsdecode.core.thoughts import THOUGHTS, Thoughts

TAIL = 20_000
"""Characters at the end of a text in which its answer is looked for."""
_CALCULATOR = re.compile(r"<<[^<>\n]{1,200}>>")
"""GSM8K's notes on how a number was computed: `<<9*2=18>>18`."""


def extract_answer(text: str, thoughts: Thoughts = THOUGHTS) -> str | None:
    r"""The content of the last `\boxed{}`, else a stated answer, else the last number, or None.

    Only what follows the model's thoughts counts; thoughts that never end hold no answer. Boxes
    that are joined (`\boxed{4}` and `\boxed{5}`) are one answer. A stated answer follows "####",
    "answer is" or "answer:" (also in some other languages), on the same line or below it (in a
    fence, a display formula, a table), and ends with its sentence; of one that only puts a number
    into words ("$18 in total"), the number with its unit. The last number is given with the formula
    that it belongs to, and with the others of its list (`x = 3 or x = 5`).
    """
    part = thoughts.answer_part(text)
    if part is None:
        return None
    part = _CALCULATOR.sub("", part[-TAIL:])
    boxed = boxed_answer(part)
    return boxed if boxed is not None else stated_answer(part)
