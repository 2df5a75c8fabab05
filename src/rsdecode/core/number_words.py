"""Reads numbers that are written in words: `twenty-one`, `one hundred and five`, `two thirds`."""

from __future__ import annotations

import re
from fractions import Fraction

_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"
    " sixteen seventeen eighteen nineteen"
)
_SMALL = {word: value for value, word in enumerate(_ONES.split())}
_TENS = {
    "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70,
    "eighty": 80, "ninety": 90,
}  # fmt: skip
_SCALES = {"hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9}
_PARTS = {
    "half": 2, "third": 3, "fourth": 4, "quarter": 4, "fifth": 5, "sixth": 6, "seventh": 7,
    "eighth": 8, "ninth": 9, "tenth": 10, "twelfth": 12, "twentieth": 20, "hundredth": 100,
}  # fmt: skip


def number_in_words(text: str) -> tuple[Fraction, str] | None:
    """The value of the number words that a text begins with, and what follows them.

    None where it begins with another word.
    """
    if not text[:1].isalpha():
        return None
    words = [word for word in re.split(r"[\s-]+", text.casefold()) if word]
    value, room, at = 0, 10**12, 0  # what the next word may add is below `room`
    total = 0
    while at < len(words):
        word = words[at]
        number = _SMALL.get(word, _TENS.get(word))
        if number is not None and number < room:
            value += number
            room = 10 if word in _TENS else 1
        elif word in _SCALES and value:
            value *= _SCALES[word]
            room = _SCALES[word]
            if room > 100:
                total, value = total + value, 0
        elif not (word == "and" and room == 100 and words[at + 1 : at + 2]):
            break
        at += 1
    value = Fraction(total + value)
    if at and words[at : at + 2] == ["and", "a"] and (part := _part(words, at + 2)):
        return value + Fraction(1, part), " ".join(words[at + 3 :])
    if (part := _part(words, at)) and (value or words[0] == "half"):
        return (value or 1) / Fraction(part), " ".join(words[at + 1 :])
    return (value, " ".join(words[at:])) if at else None


def _part(words: list[str], at: int) -> int | None:
    """What a word such as `thirds` divides by."""
    if at >= len(words):
        return None
    return _PARTS.get(words[at].removesuffix("s").replace("halve", "half"))
