"""Relations in words: `x is at most 3`, `all real numbers less than 3`."""

from __future__ import annotations

import re

from rsdecode.evals.grading.notation import unwrapped

ALL_BUT = re.compile(
    r"\s*(?:all|any|every|the)?\s*(?:set of )?(?:all )?real(?: number)?s?(?: x)?,?\s*"
    r"(?:except|other than|but|excluding|not equal to)"
    r"(?:\s+for)?(?:\s+x\s*=)?\s*(?P<points>.+)",
    re.IGNORECASE,
)
_WORDED = [
    (re.compile(pattern), sign)
    for pattern, sign in [
        (
            r"(?:is\s+)?(?:strictly\s+)?(?:greater|more|larger|bigger)\s+than\s+or\s+equal\s+to|(?:is\s+)?at\s+least",
            r"\\ge",
        ),
        (r"(?:is\s+)?(?:less|smaller|fewer)\s+than\s+or\s+equal\s+to|(?:is\s+)?at\s+most", r"\\le"),
        (r"(?:is\s+)?(?:strictly\s+)?(?:greater|more|larger|bigger)\s+than", ">"),
        (r"(?:is\s+)?(?:strictly\s+)?(?:less|smaller)\s+than", "<"),
        (
            r"^\s*(?:all|any|every|the\s+set\s+of\s+all)?\s*real\s+numbers?\s*(?:x\s+)?(?:that\s+are\s+)?(?=[<>\\])",
            "x ",
        ),
        (r"^\s*(?:for\s+)?(?:all|any|every)\s+(?=[a-z]\s*[<>\\])", ""),
    ]
]


def in_signs(text: str) -> str:
    """The text with signs for the words of its relations."""
    if not re.search(r"than|at\s|all|any|every", text):
        return text
    text = unwrapped(text)
    for words, sign in _WORDED:
        text = words.sub(sign, text)
    return text
