"""What words mean, where mathematics has a sign for it, and phrases that say the same."""

from __future__ import annotations

import re

from rsdecode.evals.grading.notation import compact, said, tidy, unwrapped

_THINGS = r"(?:solutions?|roots?|values?|answers?|numbers?|intersections?|zeros?|elements?)"
_WHICH = r"(?:real|valid|such|possible|common|further)"
_MEANINGS = {
    key: re.compile(pattern)
    for key, pattern in {
        "empty": rf"(?:there (?:is|are|exists?) |it has |has |x has )?(?:no|zero)(?: {_WHICH})*"
        rf" {_THINGS}(?: exists?| of x| for x)?|none(?: exists?)?|empty(?: set)?"
        r"|no such \w(?: exists?)?|(?:(?:system|equation)s? (?:is|are) )?inconsistent"
        rf"|{_THINGS} (?:do not|does not|dont|doesnt) exist|no {_THINGS} in reals|null set|void set"
        r"|(?:equation|system|inequality|it|there) has no(?: real)? solutions?|unsolvable",
        "reals": r"(?:x (?:is|can be) |for |true for |x in )?(?:set of )?(?:all|any|every)(?: of)?"
        r"(?: possible)? reals?"
        r"(?: (?:numbers?|values?)(?: of x| x)?| x)?|(?:x (?:is|in) )?(?:set of )?real numbers?"
        r"|reals|(?:for )?(?:all|any|every) x|(?:for )?(?:(?:all|any|every) )?x in reals"
        r"|all values of x",
        "integers": r"(?:set of )?(?:all|any|every) (?:integers?|whole numbers|integer values)"
        r"(?: x)?|integers|set of integers",
        "positive reals": r"(?:all|any|every) positive (?:reals?|real numbers?)",
        "infinitely many": r"(?:there (?:is|are) )?"
        r"(?:infinitely many|infinite(?: number of)?|infinity|an infinite"
        rf" number of)(?: {_THINGS})?",
        "impossible": r"(?:it is )?(?:impossible|not possible)",
        "divergent": r"(?:(?:series|integral|sequence|it) )?(?:is )?(?:diverges|divergent)",
        "convergent": r"(?:(?:series|integral|sequence|it) )?(?:is )?(?:converges|convergent)",
        "undefined": r"undefined|not defined"
        r"|(?:it |limit |value )?(?:dne|(?:does not|doesnt) exist)"
        r"|(?:limit )?nonexistent|indeterminate",
    }.items()
}
_SIGNS = {
    r"\emptyset": "empty",
    r"\{\}": "empty",
    r"x\in\emptyset": "empty",
    r"\mathbb{R}": "reals",
    r"\R": "reals",
    r"x\in\mathbb{R}": "reals",
    r"x\in\R": "reals",
    r"(-\infty,\infty)": "reals",
    r"(-\infty,+\infty)": "reals",
    r"x\in(-\infty,\infty)": "reals",
    r"x\in(-\infty,+\infty)": "reals",
    r"-\infty<x<\infty": "reals",
    r"-\infty<x<+\infty": "reals",
    r"\mathbb{Z}": "integers",
    r"x\in\mathbb{Z}": "integers",
    r"\mathbb{R}^+": "positive reals",
    r"\mathbb{R}_+": "positive reals",
    r"(0,\infty)": "positive reals",
    r"\infty": "infinitely many",
    r"+\infty": "infinitely many",
}
_SIGN = re.compile(r"[a-wyz](?=\\in)|(?<=<)[a-wyz](?=<)")
_LETTERS = re.compile(r"[A-Za-z][A-Za-z' ,.()-]*")
_PLURAL = re.compile(r"(?<=[a-z]{3})(?<!s)s\b")
_CONJUNCTIONS = re.compile(
    r"\b(?:is|are|on|condition|direction|shape|person|day|quadrant|triangle)\b"
)
_QUADRANT = re.compile(r"\b(first|second|third|fourth) quadrant\b")
_QUADRANTS = {"first": "i", "second": "ii", "third": "iii", "fourth": "iv"}
_PAIR = re.compile(r"(.+?) and (.+)")
_VERDICT = re.compile(
    r"(yes|no|true|false)(?=$|[,.;:—]|\s+-\s|\s+(?:because|since|as|it|they|this|that)\b)"
)
SIGNS_ALONE = frozenset({"reals", "integers", "positive reals"})
"""Meanings that can also be written as intervals and sets."""


def meaning(text: str) -> str | None:
    r"""What a phrase or a sign stands for: `no solutions` and `\varnothing` are "empty"."""
    key = _SIGN.sub("x", compact(text).replace("{}", "").replace(" ", ""))
    if key in _SIGNS:
        return _SIGNS[key]
    if len(text) > 120:
        return None
    plain = (
        unwrapped(tidy(text))
        .replace(r"\mathbb{R}", "reals")
        .replace(r"\in", "in")
        .replace(r"\forall", "all")
    )
    if not _LETTERS.fullmatch(plain):
        return None
    phrase = said(plain).strip()
    return next((key for key, words in _MEANINGS.items() if words.fullmatch(phrase)), None)


def same_words(answer: str, reference: str) -> bool:
    """Whether two phrases are the same, whatever their case, articles, plurals and punctuation.

    Of an answer to a question for yes or no, or true or false, its first word counts.
    """
    wanted = said(reference)
    if wanted in ("yes", "no", "true", "false"):
        given = _VERDICT.match(unwrapped(tidy(answer)).strip().lower())
        return given is not None and given[1] == wanted
    a, b = (_key(words) for words in (answer, reference))
    return bool(a) and a == b


def _key(words: str) -> str:
    """What a phrase says; of two names joined by `and`, in an order of its own."""
    plain = _QUADRANT.sub(lambda found: _QUADRANTS[found[1]], said(words.replace(",", " and ")))
    plain = _PLURAL.sub("", re.sub(r"\b(?:and )+and\b", "and", plain))
    plain = " ".join(_CONJUNCTIONS.sub(" ", plain).split()) or plain
    pair = _PAIR.fullmatch(plain)
    return " and ".join(sorted(pair.groups())) if pair and plain.count(" and ") == 1 else plain
