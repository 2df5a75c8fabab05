"""Evaluate an expression exactly, in bounded time and memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from rsdecode.rewards.arithmetic.tokens import Kind, Token

MAX_TOKENS = 300
MAX_DEPTH = 40
MAX_BITS = 4096


class UndecidableError(Exception):
    """The tokens are no expression, have an unknown operand, or are too large to compute."""


class UndefinedError(Exception):
    """The expression has no value: it divides by zero."""


@dataclass(frozen=True, slots=True)
class Value:
    """The value of an expression.

    Attributes:
        computed: it is more than a number, that is, more than `literal`.
        literal: the number, where the expression is nothing else but a sign before it.
        percent: the literal is followed by a percent sign.
    """

    number: Fraction
    computed: bool = False
    literal: Token | None = None
    percent: bool = False


def evaluate(tokens: Sequence[Token]) -> Value:
    """The value of `tokens`; `^` before `* /` before `+ -`, from left to right.

    Raises:
        UndecidableError: see there.
        UndefinedError: division by zero.
    """
    if len(tokens) > MAX_TOKENS:
        raise UndecidableError
    parser = _Parser(tokens)
    number = parser.sum()
    if parser.peek() is not None:
        raise UndecidableError
    bare = _without_parentheses_and_sign(tokens)
    percent = len(bare) == 2 and bare[1].kind is Kind.PERCENT
    literal = bare[0] if len(bare) == 1 or percent else None
    return Value(number, literal is None, literal, percent)


def _without_parentheses_and_sign(tokens: Sequence[Token]) -> Sequence[Token]:
    """The 8 of (8), (-8) and -(8)."""
    for _ in range(2):
        if len(tokens) > 1 and tokens[0].text in ("+", "-"):
            tokens = tokens[1:]
        if 3 <= len(tokens) <= 5 and (tokens[0].kind, tokens[-1].kind) == (
            Kind.OPEN,
            Kind.CLOSE,
        ):
            tokens = tokens[1:-1]
    return tokens


class _Parser:
    """Recursive descent; the grammar is the order of the methods."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self._tokens = tokens
        self._at = 0
        self._depth = 0

    def peek(self) -> Token | None:
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def sum(self) -> Fraction:
        total = self._product()
        while operator := self._take("+-"):
            term = self._product()
            total = _bounded(total + term if operator == "+" else total - term)
        return total

    def _product(self) -> Fraction:
        product = self._signed()
        while True:
            if operator := self._take("*/"):
                factor = self._signed()
            elif self._multiplies():
                operator, factor = "*", self._power()
            else:
                return product
            if operator == "/" and factor == 0:
                raise UndefinedError
            product = _bounded(product * factor if operator == "*" else product / factor)

    def _multiplies(self) -> bool:
        """Whether an operand follows without an operator, as in 2(3 + 4) and (1 + 2)3."""
        token, last = self.peek(), self._tokens[self._at - 1]
        if token is None:
            return False
        if token.kind is Kind.NUMBER:
            return token.glued and last.kind is Kind.CLOSE
        return token.kind in (Kind.OPEN, Kind.FRACTION)

    def _signed(self) -> Fraction:
        negative = False
        while sign := self._take("+-"):
            negative ^= sign == "-"
        value = self._power()
        return -value if negative else value

    def _power(self) -> Fraction:
        base = self._operand()
        if not self._take("^"):
            return base
        self._enter()
        exponent = self._signed()
        self._depth -= 1
        return _raise(base, exponent)

    def _operand(self) -> Fraction:
        token = self.peek()
        if token is None:
            raise UndecidableError
        self._at += 1
        match token.kind:
            case Kind.NUMBER:
                value = token.value + self._mixed_fraction(token)
            case Kind.OPEN:
                value = self._group()
            case Kind.FRACTION:
                value = self._fraction()
            case _:
                raise UndecidableError
        following = self.peek()
        if following is not None and following.kind is Kind.PERCENT:
            self._at += 1
            value /= 100
        return value

    def _mixed_fraction(self, whole: Token) -> Fraction:
        r"""The fraction after a whole number, as in 2\frac{1}{2}; 0 if there is none."""
        token = self.peek()
        if token is None or token.kind is not Kind.FRACTION or whole.value.denominator != 1:
            return Fraction(0)
        self._at += 1
        return self._fraction()

    def _fraction(self) -> Fraction:
        r"""The rest of \frac{a}{b} or \frac12."""
        above, below = self._argument(), self._argument()
        if below == 0:
            raise UndefinedError
        return _bounded(above / below)

    def _argument(self) -> Fraction:
        token = self.peek()
        if token is None or token.kind is not Kind.OPEN:
            raise UndecidableError
        self._at += 1
        return self._group()

    def _group(self) -> Fraction:
        """The rest of ( ... )."""
        self._enter()
        value = self.sum()
        self._depth -= 1
        token = self.peek()
        if token is None or token.kind is not Kind.CLOSE:
            raise UndecidableError
        self._at += 1
        return value

    def _enter(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise UndecidableError

    def _take(self, operators: str) -> str:
        """Consume one of `operators`; empty if something else follows."""
        token = self.peek()
        if token is None or token.kind is not Kind.OPERATOR or token.text not in operators:
            return ""
        self._at += 1
        return token.text


def _bits(value: Fraction) -> int:
    return value.numerator.bit_length() + value.denominator.bit_length()


def _bounded(value: Fraction) -> Fraction:
    if _bits(value) > MAX_BITS:
        raise UndecidableError
    return value


def _raise(base: Fraction, exponent: Fraction) -> Fraction:
    """The power, for whole exponents of bounded size."""
    if exponent.denominator != 1 or abs(exponent.numerator) * _bits(base) > MAX_BITS:
        raise UndecidableError
    if base == 0 and exponent < 0:
        raise UndefinedError
    return base**exponent.numerator
