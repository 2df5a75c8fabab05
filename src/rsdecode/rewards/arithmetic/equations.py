r"""Find the equations of a step and check each.

Counted: a = b with numbers on both sides; each link of a chain a = b = c. Integers, decimals,
thousands commas, fractions, mixed numbers, + - * x / ^, parentheses, percent, currency signs,
LaTeX, words around numbers (5 apples + 3 apples = 8 apples), `20% of 50`, `plus`, `times`.

Rounding: a decimal or a percentage alone on the right may be rounded to the digits that it shows
(10 / 3 = 3.33); with an ellipsis it may be cut off. 40 = 40% holds, for shares times 100.

Not counted, because it cannot be decided: sides with unknowns (letters, functions, words in the
place of an operand), numbers with words and nothing to compute (1 hour = 60 minutes), different
units of measure that do not agree as plain numbers (2 * 60 minutes = 2 hours), a word between
numbers that is no operation (2 groups of 3 = 6), talk between a number and the equals sign (3 miles
less than he ran = 17), approximations, matrices, and what is too large to compute.
A division by zero fails.
"""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

from rsdecode.rewards.arithmetic.expression import UndecidableError, UndefinedError, Value, evaluate
from rsdecode.rewards.arithmetic.structure import Side, chains
from rsdecode.rewards.arithmetic.tokens import tokenize

MAX_UNIT_WORDS = 3


def check_equations(text: str) -> list[bool]:
    """Whether each decidable equation of `text` holds, in order."""
    links = (link for chain in chains(tokenize(text)) for link in pairwise(chain))
    verdicts = (_check(left, right) for left, right in links)
    return [verdict for verdict in verdicts if verdict is not None]


def _check(left: Side, right: Side) -> bool | None:
    """Whether the link holds; None if it cannot be decided."""
    try:
        undefined = False
        try:
            a = evaluate(left.phrases[-1])
        except UndefinedError:
            undefined, a = True, Value(Fraction(0), computed=True)
        b = evaluate(right.phrases[0])
    except UndecidableError:
        return None
    except UndefinedError:
        return False
    if _is_talk(left, right, a, b):
        return None
    if not undefined and _agree(a, b):
        return True
    converts = left.measures and right.measures and left.measures != right.measures
    return None if converts else False


def _is_talk(left: Side, right: Side, a: Value, b: Value) -> bool:
    """Whether words make more of the link than an equation of numbers."""
    if left.trailing > MAX_UNIT_WORDS or right.leading > MAX_UNIT_WORDS:
        return True
    if not (a.computed or b.computed):
        return bool(left.words or right.words)
    return not a.computed and (left.leading > 0 or len(left.phrases) > 1)


def _agree(a: Value, b: Value) -> bool:
    """Equal, or equal up to the precision that the right side shows."""
    scales = (1, 100) if b.percent else (1,)
    return any(abs(a.number - b.number * scale) <= _tolerance(b) * scale for scale in scales)


def _tolerance(b: Value) -> Fraction:
    """Half a unit of the last digit shown; a whole one before an ellipsis."""
    literal = b.literal
    if literal is None or not (literal.decimals or b.percent or literal.elided):
        return Fraction(0)
    unit = Fraction(1, 10**literal.decimals) / (100 if b.percent else 1)
    return unit if literal.elided else unit / 2
