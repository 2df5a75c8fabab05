"""The letter of a multiple-choice answer."""

from __future__ import annotations

import re

from rsdecode.evals.grading.notation import tidy, unwrapped

_LETTER = re.compile(
    r"(?i:(?:the\s+)?(?:correct\s+)?(?:answer|option|choice)\s*(?:is\s*)?:?\s*)?"
    r"(?:\(([A-Za-z])\).*|([A-Z])(?:[).:,]\s*.*)?|([a-z])[).]?)",
    re.DOTALL,
)
_STATED = re.compile(
    r"(?:answer|option|choice)(?:\s+is)?\s*:?\s*(?:option\s+|choice\s+)?[*\s]*\(?([A-Z])\)?(?![\w'])"
)
_WRAPPED_LETTER = re.compile(
    r"\\(?:text(?:bf|rm|it)?|mathrm|mathbf|mbox|bf)\s*\{(\s*\(?[A-H]\)?[.):]?\s*)\}"
)
_LETTERS = re.compile(r"[A-H](?:(?:\s*,?\s*and\s*|[\s,;]*)[A-H])+")
_WITH_VALUE = re.compile(r"(?:\(([A-H])\)\s*[.:]?|([A-H])(?:[.)]|:\s))\s*([^.)\s].*)", re.DOTALL)
_BRACKETED = re.compile(r"\(([A-H])\)")
_ALONE = re.compile(r"[\s*(]*([A-Z])[\s*).]*")
_REFERENCE = re.compile(r"\(([A-Za-z])\)|([A-KA-k])")


def letter_of(answer: str) -> str | None:
    r"""The letter that an answer names: `B`, `(B)`, `B. because ...`, `\text{(B)}`, `option B`."""
    found = _LETTER.fullmatch(unwrapped(tidy(answer)).strip("{} "))
    return next((letter.upper() for letter in found.groups() if letter), None) if found else None


def letter_with_value(answer: str) -> tuple[str, str] | None:
    r"""The letter and the value of `\textbf{(D)}\ 12`, `(D) 12` or `D. 12`, if it has both."""
    text = re.sub(r"^\\(?:text|mbox)\s*\{(?=\s*\([A-H]\))([^{}]*)\}$", r"\1", tidy(answer))
    text = _WRAPPED_LETTER.sub(r"\1 ", text).strip()
    found = _WITH_VALUE.fullmatch(text)
    return ((found[1] or found[2]).upper(), found[3].strip()) if found else None


def another_case(answer: str, reference: str) -> bool:
    """Whether two bare letters are a small and a capital one: then they are variables."""
    a, b = answer.strip(" $"), reference.strip(" $")
    return len(a) == len(b) == 1 and a.islower() and b.isupper()


def letters_named(answer: str) -> frozenset[str]:
    """All letters in brackets: an answer that names several chooses none."""
    return frozenset(_BRACKETED.findall(unwrapped(tidy(answer))))


def several_letters(text: str) -> frozenset[str] | None:
    """The letters of `A, C, D`, `A and C` or `ACD`, all different; None of anything else."""
    plain = unwrapped(tidy(text)).translate({ord(mark): None for mark in "(){}"})
    if _LETTERS.fullmatch(plain) is None:
        return None
    letters = re.findall("[A-H]", plain)
    return frozenset(letters) if len(set(letters)) == len(letters) else None


def letter_stated(text: str) -> str | None:
    """The letter that a text states last: `the answer is (B)`, or a last line that is a letter."""
    if stated := _STATED.findall(text):
        return stated[-1]
    alone = _ALONE.fullmatch(text.rstrip().rpartition("\n")[2])
    return alone.group(1) if alone else None


def letter_reference(reference: str) -> str | None:
    """The letter, if the reference is one and not a variable: capital up to K, or in brackets."""
    plain = unwrapped(tidy(reference)).strip("{} ")
    found = _REFERENCE.fullmatch(plain)
    if found is None or (found.group(2) and not found.group(2).isupper()):
        return None
    return (found.group(1) or found.group(2)).upper()
