"""From tokens to equations: which words are units, which are operators, where a side begins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from rsdecode.rewards.arithmetic.tokens import Kind, Token, verb

MEASURES = frozenset(
    (
        *("second", "minute", "hour", "day", "week", "month", "year", "decade", "century"),
        *("mile", "kilometer", "km", "meter", "cm", "mm", "inch", "inches", "foot", "feet", "yard"),
        *("gram", "kg", "kilogram", "mg", "pound", "lb", "ounce", "oz", "ton", "degree"),
        *("liter", "litre", "ml", "milliliter", "gallon", "quart", "pint", "cup"),
        *("dollar", "cent", "penny", "pennies", "nickel", "dime", "quarter"),
        *("dozen", "pair", "score", "percent"),
    )
)
"""Units that convert into one another, so that both sides of an equation may differ."""
MAX_FRACTION_TOKENS = 12
"""How far back a fraction may begin that `of` refers to."""
_FILLERS = frozenset(
    (
        *("a", "about", "additional", "all", "an", "another", "extra", "more", "only", "other"),
        *("remaining", "the", "his", "her", "its", "my", "our", "their", "your"),
    )
)
_TALK = frozenset(
    (
        *("and", "or", "so", "then", "thus", "hence", "where", "that", "gives", "get", "is", "are"),
        *("has", "have", "with"),
    )
)
"""Words after which a minus sign begins a number."""
_ENDS = (Kind.NUMBER, Kind.CLOSE, Kind.PERCENT)
_STARTS = (Kind.NUMBER, Kind.OPEN, Kind.FRACTION)
_USES = (Kind.EQUALS, Kind.OPERATOR, Kind.CLOSE)
_UNKNOWN = Token(Kind.UNKNOWN, "?")
_BREAK = Token(Kind.BREAK, "")
_REMARK = Token(Kind.WORD, "")


@dataclass(frozen=True, slots=True)
class Side:
    """What stands between two equals signs.

    Attributes:
        phrases: expressions that words separate; the first belongs to the equals sign on the left,
            the last to the one on the right.
        words: the words of the side.
        leading: how many of them stand before the first phrase.
        trailing: how many of them stand after the last phrase.
    """

    phrases: tuple[tuple[Token, ...], ...]
    words: tuple[str, ...]
    leading: int = 0
    trailing: int = 0

    @property
    def measures(self) -> frozenset[str]:
        """The units of measure among the words, in the singular."""
        return frozenset(filter(None, map(_measure, self.words)))


def chains(tokens: Sequence[Token]) -> list[list[Side]]:
    """The equations of a step: a = b = c is a chain of three sides."""
    found: list[list[Side]] = []
    chain: list[Side] = []
    side: list[Token] = []
    for token in [*_with_verbs(_with_parentheses(_joined_lines(tokens))), _BREAK]:
        if token.kind is Kind.EQUALS:
            chain.append(_side(side))
            side = []
        elif token.kind is Kind.BREAK:
            if chain:
                found.append([*chain, _side(side)])
            chain, side = [], []
        else:
            side.append(token)
    return found


def _joined_lines(tokens: Sequence[Token]) -> list[Token]:
    """Ends of lines end equations, but not around an equals sign."""
    out: list[Token] = []
    for token in tokens:
        if token.kind is Kind.NEWLINE:
            if out and out[-1].kind not in (Kind.EQUALS, Kind.NEWLINE):
                out.append(token)
            continue
        if token.kind is Kind.EQUALS and out and out[-1].kind is Kind.NEWLINE:
            out.pop()
        out.append(token)
    return [replace(t, kind=Kind.BREAK) if t.kind is Kind.NEWLINE else t for t in out]


@dataclass(slots=True)
class _Group:
    """An open parenthesis while its contents are read."""

    start: int
    numbers: bool = False
    words: bool = False
    breaks: bool = False


def _with_parentheses(tokens: Sequence[Token]) -> list[Token]:
    """Turn remarks in parentheses into words, and parentheses around equations into breaks."""
    out: list[Token] = []
    stack: list[_Group] = []
    for token in tokens:
        if token.kind is Kind.OPEN:
            if token.glued and out and out[-1] is _REMARK:
                out[-1] = _UNKNOWN
            stack.append(_Group(len(out)))
        elif token.kind is Kind.CLOSE:
            if not stack:
                out.append(_BREAK)
                continue
            group = stack.pop()
            closed = _close(out, group)
            if stack:
                stack[-1].numbers |= group.numbers and closed.kind is Kind.CLOSE
                stack[-1].words |= group.words
                stack[-1].breaks |= group.breaks
            out.append(closed)
            continue
        elif stack:
            stack[-1].numbers |= token.kind in (Kind.NUMBER, Kind.UNKNOWN)
            stack[-1].words |= token.kind is Kind.WORD
            stack[-1].breaks |= token.kind in (Kind.BREAK, Kind.EQUALS)
        out.append(token)
    for group in stack:
        before = out[group.start - 1].kind if group.start else Kind.BREAK
        unclosed = before in (Kind.OPERATOR, Kind.UNKNOWN, *_ENDS)
        out[group.start] = _UNKNOWN if unclosed else _BREAK
    return out


def _close(out: list[Token], group: _Group) -> Token:
    """What the closing parenthesis becomes; a remark is cut off `out`."""
    opening = out[group.start]
    if group.breaks:
        out[group.start] = _BREAK
        return _BREAK
    remark = (
        not opening.glued
        and group.words
        and _ends_operand(out[max(0, group.start - 2) : group.start])
    )
    if remark or not group.numbers:
        del out[group.start :]
        return _REMARK
    return Token(Kind.CLOSE, ")")


def _ends_operand(before: Sequence[Token]) -> bool:
    """Whether the last tokens are an operand, perhaps with its unit."""
    if not before:
        return False
    if before[-1].kind is Kind.WORD and len(before) > 1:
        return before[-2].kind in _ENDS
    return before[-1].kind in _ENDS


def _with_verbs(tokens: Sequence[Token]) -> list[Token]:
    """Decide which words are operators, and drop the operators that belong to units."""
    out: list[Token] = []
    at = 0
    while at < len(tokens):
        token = tokens[at]
        following = tokens[at + 1] if at + 1 < len(tokens) else _BREAK
        if symbol := verb(token):
            out.append(_verb(token, symbol, out, following, tokens[at + 2 : at + 3]))
        elif token.text == "^" and out and out[-1].kind is Kind.WORD:
            at = _after_exponent(tokens, at + 1)
            continue
        elif token.kind is Kind.WORD and token.text in ("a", "A", "I") and following.kind in _USES:
            out.append(_UNKNOWN)
        elif not (
            token.text == "/" and following.kind is Kind.WORD and _measure(following.text) and out
        ):
            out.append(token)
        at += 1
    return out


def _verb(
    token: Token, symbol: str, out: Sequence[Token], following: Token, later: Sequence[Token]
) -> Token:
    """An operator where operands stand on both sides, else the word itself."""
    filler = following.text.lower() in _FILLERS and bool(later) and later[0].kind in _STARTS
    starts = following.kind in _STARTS or (symbol == "of" and filler)
    if not (starts and _ends_operand(out[-2:])):
        return token
    if symbol == "x":
        return Token(Kind.OPERATOR, "*")
    if symbol == "of":
        return Token(Kind.OPERATOR, "*" if _is_share(out) else "of")
    return Token(Kind.OPERATOR, symbol)


def _is_share(out: Sequence[Token]) -> bool:
    """Whether a percentage, a fraction or a decimal stands last, so that `of` means times."""
    last = out[-1]
    before = out[-2] if len(out) > 1 else _BREAK
    if last.kind is Kind.CLOSE:
        return _is_fraction(out[-MAX_FRACTION_TOKENS:])
    whole = last.kind is Kind.NUMBER and last.value.denominator == 1 and not last.decimals
    return last.kind in _ENDS and (not whole or before.text == "/")


def _is_fraction(out: Sequence[Token]) -> bool:
    r"""Whether the parentheses at the end hold a fraction, or are the second ones of a \frac."""
    depth = 0
    for at in reversed(range(len(out))):
        depth += {Kind.CLOSE: 1, Kind.OPEN: -1}.get(out[at].kind, 0)
        if depth == 0:
            inside = any(token.text == "/" for token in out[at:])
            return inside or (at > 0 and out[at - 1].kind is Kind.CLOSE)
    return False


def _after_exponent(tokens: Sequence[Token], at: int) -> int:
    """Skip the exponent of a unit, as in cm^2 and cm^{2}."""
    if at + 2 < len(tokens) and tokens[at].kind is Kind.OPEN and tokens[at + 2].kind is Kind.CLOSE:
        return at + 3
    return at + 1


def _measure(word: str) -> str:
    """The unit of measure, in the singular, or nothing."""
    word = word.lower()
    singular = word.removesuffix("s")
    return word if word in MEASURES else singular if singular in MEASURES else ""


def _side(tokens: Sequence[Token]) -> Side:
    """Drop words that are units or talk; cut where words separate operands."""
    reader = _SideReader()
    for token, following in pairwise([*tokens, _BREAK]):
        if token.kind is Kind.WORD:
            reader.add_word(token)
        else:
            reader.add(token, following)
    return reader.side


@dataclass(slots=True)
class _SideReader:
    """Collects the phrases and the words of a side."""

    phrases: list[list[Token]] = field(default_factory=lambda: [[]])
    words: list[str] = field(default_factory=list[str])
    leading: int = 0
    trailing: int = 0

    @property
    def side(self) -> Side:
        phrases = tuple(tuple(phrase) for phrase in self.phrases)
        return Side(phrases, tuple(self.words), self.leading, self.trailing)

    def add_word(self, token: Token) -> None:
        phrase = self.phrases[-1]
        if phrase and phrase[-1].kind is Kind.OPERATOR:
            if token.text.lower() in _FILLERS:
                return
            phrase.append(_UNKNOWN)
        elif token.glued and phrase and not self.trailing and phrase[-1].kind is Kind.CLOSE:
            phrase.append(_UNKNOWN)
        self.words.append(token.text)
        self.leading += not self.phrases[0]
        self.trailing += 1

    def add(self, token: Token, following: Token) -> None:
        if self.trailing:
            self._after_words(token, following)
        self.phrases[-1].append(token)
        self.trailing = 0

    def _after_words(self, token: Token, following: Token) -> None:
        """Begin a new phrase, or note that words stand in the place of an operand."""
        phrase = self.phrases[-1]
        signs = token.text == "-" and not token.glued and following.glued
        operand = token.kind in (*_STARTS, Kind.UNKNOWN)
        if phrase and (operand or (signs and self.words[-1].lower() in _TALK)):
            self.phrases.append([])
        elif signs if phrase else token.kind is Kind.OPERATOR and not signs:
            phrase.append(_UNKNOWN)
