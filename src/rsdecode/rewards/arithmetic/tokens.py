r"""Cut a step into the tokens of its equations: plain text, Markdown and LaTeX alike.

`\frac`, `\times`, `\cdot`, `\div`, `\left`, `\right`, `\text`, `\boxed`, `$...$`, `\( \)` and their
Unicode counterparts are understood; currency signs are dropped. Everything that is neither a
number, an operator nor a word ends an equation. All regular expressions run in linear time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

from rsdecode.core.numbers import DECIMAL, MINUS_SIGNS, exact, join_groups

MAX_CHARACTERS = 10_000
MAX_DIGITS = 100


class Kind(StrEnum):
    """The kinds of tokens. `UNKNOWN` is an operand without a value: a variable, a function."""

    NUMBER = "number"
    OPERATOR = "operator"
    OPEN = "("
    CLOSE = ")"
    PERCENT = "%"
    FRACTION = "frac"
    EQUALS = "="
    WORD = "word"
    UNKNOWN = "unknown"
    BREAK = "break"
    NEWLINE = "newline"


@dataclass(frozen=True, slots=True)
class Token:
    """One token.

    Attributes:
        value: of a number.
        decimals: digits shown after the decimal point.
        elided: the number is followed by an ellipsis, as in 0.333...
        glued: no white space before it.
    """

    kind: Kind
    text: str
    value: Fraction = Fraction(0)
    decimals: int = 0
    elided: bool = False
    glued: bool = False


_REWRITES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\\\\(?:\[[^\]\n]{0,10}\])?", "\n"),
        (r"\\(?:begin|end)\{(?:[pbvBV]?matrix|smallmatrix|array|cases)\}", r"\\matrix "),
        (r"\\(?:begin|end)\{[^{}\n]{0,30}\}(?:\{[^{}\n]{0,30}\})?", "\n"),
        (r"\\[()\[\]]", " "),
        (r"\\[,;:! ]|\\(?:left|right|displaystyle|bf|big|Big)(?![A-Za-z])\.?", ""),
        (r"\\(?:text|textbf|mathrm|mathbf|mathit|operatorname|boxed|fbox)(?![A-Za-z])", ""),
        (r"\\[dtc]?frac(?![A-Za-z])", "\ue000"),
        (r"\\(?:times|cdot|ast)(?![A-Za-z])|[×·∗✕⋅]", "*"),
        (r"\\div(?![A-Za-z])|÷|⁄", "/"),
        (r"\\(?:ldots|dots|cdots)(?![A-Za-z])|…", "..."),
        (r"\^\{?\\circ\}?|°", " degrees "),
        (rf"[{MINUS_SIGNS}]", "-"),
        (r"\\%", "%"),
        (r"\\?[$€£¥₹]", ""),
        (r"(?<=[\d)])[ ]?\*\*[ ]?(?=[\d(-])", "^"),
        (r"\*\*|[`\"&]|__", " "),
        (r"²", "^2"),
        (r"³", "^3"),
        (r"½", "\ue000{1}{2}"),
        (r"⅓", "\ue000{1}{3}"),
        (r"⅔", "\ue000{2}{3}"),
        (r"¼", "\ue000{1}{4}"),
        (r"¾", "\ue000{3}{4}"),
        (r"(?m)^[ \t#>]*(?:[Ss]tep|STEP)[ \t]*\d{1,4}[ \t]*[:.)-]*", "\n"),
        (r"(?m)^[ \t]*(?:[-*+•]|\d{1,3}[.)])[ \t]+", "\n"),
    )
)

_TOKEN = re.compile(
    r"""
    (?P<space>[^\S\n]+)
  | (?P<newline>\n)
  | (?P<other_equals>[=<>!:~]{1,3}=+>?|=+>|=/=)   # <= >= != := => are not equations, == is
  | (?P<unknown>[@\#√∑∏∫∘⊕⊗]|\.\\overline|!(?=\s{0,3}[-*/+^=)\]}\\!]))
  | (?P<equals>=)
  | (?P<ordinal>\d+(?:st|nd|rd|th)\b)
  | (?P<ratio>\d+(?:(?::\d+)+|(?:\.\d+){2,}))  # 5:30, 1.2.3
  | (?P<compound>\d[\d,]{0,15}-[^\W\d_]{2,})   # a 10-mile trip
  | (?P<mixed>(?P<whole>\d{1,9})[ ](?P<over>\d{1,9})/(?P<under>\d{1,9})(?![\d.,]*\d))
  | (?P<number>DECIMAL)
  | (?P<frac>\ue000)
  | (?P<operator>[-+*/^])
  | (?P<open>[(\[{])
  | (?P<close>[)\]}])
  | (?P<percent>%)
  | (?P<phrase>(?:multiplied[ ]by|divided[ ]by|out[ ]of)\b)
  | (?P<word>[^\W\d_]+(?:[-'’/][^\W\d_]+)*)
  | (?P<command>\\[A-Za-z]+|\.\.\.|_)
  | (?P<other>.)
    """.replace("DECIMAL", DECIMAL),
    re.VERBOSE,
)
_WHOLE = re.compile(r"\d+")
_ELLIPSIS = "..."
_BREAKING_COMMANDS = frozenset(
    (
        *(r"\approx", r"\sim", r"\equiv", r"\ne", r"\neq", r"\le", r"\leq", r"\ge", r"\geq"),
        *(r"\lt", r"\gt", r"\to", r"\rightarrow", r"\Rightarrow", r"\implies", r"\iff"),
        *(r"\quad", r"\qquad", r"\therefore", r"\because"),
    )
)
_VERBS = {
    "plus": "+",
    "minus": "-",
    "times": "*",
    "multiplied by": "*",
    "divided by": "/",
    "out of": "/",
    "of": "of",
    "x": "x",
    "X": "x",
}
"""Words that may be operators, depending on what is around them (see `structure`)."""


def tokenize(text: str) -> list[Token]:
    """The tokens of a step; of its whole lines within the first 10,000 characters, if longer."""
    if len(text) > MAX_CHARACTERS:
        text = text[:MAX_CHARACTERS].rpartition("\n")[0]
    text = join_groups(text)
    for pattern, replacement in _REWRITES:
        text = pattern.sub(replacement, text)
    tokens: list[Token] = []
    at, glued = 0, False
    while match := _TOKEN.match(text, at):
        kind = match.lastgroup or "other"
        if kind == "mixed" and int(match["over"]) >= int(match["under"]):
            kind = "number"
            match = _WHOLE.match(text, at) or match
        at = match.end()
        if kind == "space":
            glued = False
            continue
        elided = kind == "number" and text.startswith(_ELLIPSIS, at)
        at += len(_ELLIPSIS) * elided
        calls = text[at : at + 1] == "("
        tokens.append(_token(kind, match, glued=glued, elided=elided, calls=calls))
        glued = True
    return tokens


def _token(kind: str, match: re.Match[str], *, glued: bool, elided: bool, calls: bool) -> Token:
    text = match.group()
    match kind:
        case "number":
            return _number(text, glued=glued, elided=elided)
        case "mixed":
            value = int(match["whole"]) + exact(f"{match['over']}/{match['under']}")
            return Token(Kind.NUMBER, text, value, glued=glued)
        case "word" | "phrase":
            return Token(_word(text, glued=glued, calls=calls), text, glued=glued)
        case "command":
            breaks = text in _BREAKING_COMMANDS
            return Token(Kind.BREAK if breaks else Kind.UNKNOWN, text, glued=glued)
        case "other_equals":
            return Token(Kind.EQUALS if set(text) == {"="} else Kind.BREAK, text, glued=glued)
        case _:
            return Token(_KINDS.get(kind, Kind.BREAK), text, glued=glued)


_KINDS = {
    "newline": Kind.NEWLINE,
    "equals": Kind.EQUALS,
    "ordinal": Kind.WORD,
    "ratio": Kind.UNKNOWN,
    "unknown": Kind.UNKNOWN,
    "frac": Kind.FRACTION,
    "operator": Kind.OPERATOR,
    "open": Kind.OPEN,
    "close": Kind.CLOSE,
    "percent": Kind.PERCENT,
}


def _number(text: str, *, glued: bool, elided: bool) -> Token:
    digits = text.replace(",", "")
    if len(digits) > MAX_DIGITS:
        return Token(Kind.UNKNOWN, text, glued=glued)
    decimals = len(digits.partition(".")[2])
    return Token(Kind.NUMBER, text, exact(digits), decimals, elided, glued)


def _word(text: str, *, glued: bool, calls: bool) -> Kind:
    """A word, or an operand without a value: a letter, or a name that is called."""
    if text == "equals":
        return Kind.EQUALS
    if text == "percent":
        return Kind.PERCENT
    if text in _VERBS:
        return Kind.UNKNOWN if text in "xX" else Kind.WORD
    article = text in ("a", "A", "I") and not glued
    return Kind.UNKNOWN if calls or (len(text) == 1 and not article) else Kind.WORD


def verb(token: Token) -> str | None:
    """The operator that a word may stand for."""
    return _VERBS.get(token.text) if token.kind in (Kind.WORD, Kind.UNKNOWN) else None
