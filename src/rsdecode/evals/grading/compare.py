"""Compares an answer with a reference, part by part, and says which rule decided."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from rsdecode.core.units import same_kind
from rsdecode.evals.grading.choice import (
    another_case,
    letter_of,
    letter_reference,
    letter_with_value,
    letters_named,
    several_letters,
)
from rsdecode.evals.grading.congruences import same_congruence
from rsdecode.evals.grading.dates import same_date
from rsdecode.evals.grading.families import are_families, read_family
from rsdecode.evals.grading.figures import same_figure
from rsdecode.evals.grading.formulas import Formulas
from rsdecode.evals.grading.names import (
    EITHER,
    LABEL,
    POINT,
    chain_of,
    in_order_of_names,
    name_and_value,
    named_alike,
    points_named,
)
from rsdecode.evals.grading.notation import (
    compact,
    digits_in_base,
    is_prose,
    tidy,
    without_announcement,
    words_of,
)
from rsdecode.evals.grading.quantity import (
    assigned,
    pair_of_numbers,
    quantity,
    same_quantity,
    unit_behind,
    units_agree,
)
from rsdecode.evals.grading.ratios import is_ratio, same_ratio
from rsdecode.evals.grading.regions import read_region, same_region
from rsdecode.evals.grading.structure import (
    Parts,
    Shape,
    as_column,
    parts_of,
    prepared,
    split_at,
    strip_outer,
)
from rsdecode.evals.grading.verdict import Rule
from rsdecode.evals.grading.words import SIGNS_ALONE, meaning, same_words

LONGEST_ANSWER = 1_000
"""Characters of the longest answer that is compared as a formula."""
_MEMBER = re.compile(
    r"^\s*(?:[A-Za-z](?:_\{?\w+\}?)?|\([A-Za-z](?:,\s*[A-Za-z])+\))\s*\\in(?![A-Za-z])\s*"
)
_MODULUS = re.compile(r"\s*(?:\\pmod\s*\{?\w+\}?|(?:\\text\s*\{)?\s*\(\s*mod\s+\d+\s*\)\s*\}?)\s*$")
_MATRICES = {Shape.COLUMN, Shape.ROW, Shape.MATRIX}
_APPROXIMATELY = re.compile(r"\\(?:approx|simeq|sim|fallingdotseq)(?![A-Za-z])")


class Decision(NamedTuple):
    """Whether an answer is right, and the rule that says so."""

    rule: Rule
    correct: bool


def compare(answer: str, reference: str, formulas: Formulas) -> Decision:
    """Whether an answer is the reference.

    Raises:
        FormulaNeeded: `formulas` compares none, and one must be compared.
        symbolic.UnreadableError: a formula cannot be read.
    """
    if compact(strip_outer(tidy(answer))) == compact(strip_outer(tidy(reference))):
        return Decision(Rule.IDENTICAL, True)
    if len(answer) > LONGEST_ANSWER:
        return Decision(Rule.TOO_LONG, False)
    answer, reference = without_announcement(answer), without_announcement(reference)
    if _APPROXIMATELY.search(tidy(answer)) and not _APPROXIMATELY.search(tidy(reference)):
        ways = [compare(way, reference, formulas) for way in _APPROXIMATELY.split(tidy(answer))]
        return next((way for way in ways if way.correct), ways[-1])
    if decision := _letters(answer, reference, formulas):
        return decision
    if (same := same_date(answer, reference)) is not None:
        return Decision(Rule.TEXT, same)
    a, b = prepared(answer), prepared(reference)
    ratios = [text.rpartition("=")[2] for text in (a, b)]
    if any(map(is_ratio, ratios)):
        return Decision(Rule.RATIO, same_ratio(ratios[0], ratios[1], formulas.same))
    if decision := _words(answer, reference):
        return decision
    if decision := _numbers(answer, reference):
        return decision
    if decision := _notations(answer, reference, a, b):
        return decision
    if decision := _families(a, b, formulas):
        return decision
    return _regions(a, b, formulas) or _parts(a, b, formulas)


def _notations(answer: str, reference: str, a: str, b: str) -> Decision | None:
    """What is written in ways of its own: remainders, figures, digits in a base."""
    if (same := same_congruence(a, b)) is not None:
        return Decision(Rule.NUMERIC, same)
    if (same := same_figure(a, b)) is not None:
        return Decision(Rule.IDENTICAL, same)
    if (number := digits_in_base(answer)) and number[1] != "10":  # math-verify drops the base
        return Decision(Rule.NUMERIC, number == digits_in_base(reference))
    if base := digits_in_base(reference):
        return Decision(Rule.NUMERIC, compact(answer) in (base[0], f"{base[0]}_{base[1]}"))
    return None


def _letters(answer: str, reference: str, formulas: Formulas) -> Decision | None:
    """Letters of choices, alone or with the value of the choice."""
    if letter := letter_reference(reference):
        if another_case(answer, reference):
            return Decision(Rule.CHOICE, False)
        if len(letters_named(answer)) > 1:
            return Decision(Rule.CHOICE, False)
        given = letter_of(answer)
        return Decision(Rule.CHOICE, given == letter) if given else None
    if (chosen := several_letters(reference)) and re.search(r",|\band\b", answer + reference):
        return Decision(Rule.CHOICE, several_letters(answer) == chosen)
    asked, given = letter_with_value(reference), letter_with_value(answer)
    if asked and (letter := letter_of(answer)) and (given is None or given[0] != asked[0]):
        return Decision(Rule.CHOICE, letter == asked[0])
    if asked or given:
        value = given[1] if given else answer
        return compare(value, asked[1] if asked else reference, formulas)
    return None


def _words(answer: str, reference: str) -> Decision | None:
    """What words, and signs that stand for words, say."""
    a, b = meaning(answer), meaning(reference)
    if a and b:
        return Decision(Rule.TEXT, a == b)
    if (a or b) and (a or b) not in SIGNS_ALONE:
        return Decision(Rule.TEXT, a is None and b is None)
    if (words := words_of(reference)) is not None and quantity(reference) is None and b is None:
        return Decision(Rule.TEXT, same_words(answer, words))
    if is_prose(answer) and a is None and quantity(answer) is None and not _is_declaration(answer):
        return Decision(Rule.TEXT, False)
    return None


def _is_declaration(answer: str) -> bool:
    return re.search(r"\d|\\|[<>=]", answer) is not None


def _numbers(answer: str, reference: str) -> Decision | None:
    pair = pair_of_numbers(answer, reference)
    if pair is None:
        return None
    if not units_agree(*pair):
        return Decision(Rule.UNITS, False)
    return Decision(Rule.NUMERIC, same_quantity(*pair))


def _families(a: str, b: str, formulas: Formulas) -> Decision | None:
    """Formulas in which a letter stands for every integer."""
    given, wanted = read_family(a), read_family(b)
    if not are_families(given, wanted):
        return None
    if given.domain and wanted.domain and given.domain != wanted.domain:
        return Decision(Rule.FAMILY, False)
    if {given.domain, wanted.domain} <= {"", "Z"}:
        one = formulas.progressions(given.items, given.letter)
        other = formulas.progressions(wanted.items, wanted.letter)
        if one is not None and other is not None:
            return Decision(Rule.FAMILY, formulas.same_families(one, other))
    letter = wanted.letter or given.letter
    renamed = ", ".join(_renamed(item, given.letter, letter) for item in given.items)
    listed = ", ".join(wanted.items)
    decision = _regions(renamed, listed, formulas) or _parts(renamed, listed, formulas)
    return Decision(Rule.FAMILY, decision.correct)


def _renamed(item: str, old: str, new: str) -> str:
    if not old or old == new:
        return item
    return re.sub(rf"(?<![A-Za-z\\]){old}(?![A-Za-z])|(?<=\d){old}(?![A-Za-z])", new, item)


def _regions(a: str, b: str, formulas: Formulas) -> Decision | None:
    """Parts of the number line, where at least one can be nothing else."""
    one, other = read_region(a, formulas), read_region(b, formulas)
    if one is not None and other is not None and (one.sure or other.sure):
        return Decision(Rule.REGION, same_region(one, other, formulas))
    certain = (one or other) if (one is None) != (other is None) else None
    unread = a if one is None else b
    if certain and certain.sure and (quantity(unread) or assigned(unread)):
        return Decision(Rule.REGION, False)
    return None


def _parts(a: str, b: str, formulas: Formulas) -> Decision:
    """Lists, sets, tuples and matrices, part by part; what has no parts as formulas."""
    names = name_and_value(a), name_and_value(b)
    if (names[0] or names[1]) and not (names[0] and names[1] and names[0][0] != names[1][0]):
        values = [name[1] if name else text for name, text in zip(names, (a, b), strict=True)]
        if not _only_equation(names, a, b):
            if decision := _numbers(values[0], values[1]):
                return decision
            if values != [a, b]:
                return _parts(strip_outer(values[0]), strip_outer(values[1]), formulas)
    if (order := chain_of(a)) and (wanted_order := chain_of(b)):
        same = order[1] == wanted_order[1] and _same_sequence(order[0], wanted_order[0], formulas)
        return Decision(Rule.PARTS, same)
    a, b = _MEMBER.sub("", a), _MEMBER.sub("", b)
    if _MODULUS.search(a) is None or _MODULUS.search(b) is None:
        a, b = _MODULUS.sub("", a), _MODULUS.sub("", b)
    a, b = _one_of_equals(a, formulas), _one_of_equals(b, formulas)
    a, b = points_named(a), points_named(b)
    given, wanted = parts_of(a), parts_of(b)
    if {given.shape, wanted.shape} == {Shape.FORMULA, Shape.TUPLE}:
        a, b = POINT.sub("", a), POINT.sub("", b)
        if r"\begin" in a + b:
            a, b = as_column(given, a), as_column(wanted, b)
        given, wanted = parts_of(a), parts_of(b)
    if _MATRICES & {given.shape, wanted.shape} and Shape.FORMULA in (given.shape, wanted.shape):
        return Decision(Rule.SYMBOLIC, formulas.same(a, b))
    if given.shape is Shape.FORMULA and wanted.shape is Shape.FORMULA:
        return _formula(given.items[0], wanted.items[0], formulas)
    return Decision(Rule.PARTS, _same_parts(given, wanted, formulas))


def _same_parts(given: Parts, wanted: Parts, formulas: Formulas) -> bool:
    given, wanted = _only_point(given), _only_point(wanted)
    shapes = {given.shape, wanted.shape}
    if given.shape is wanted.shape and given.shape not in (Shape.LIST, Shape.SET):
        same_frame = given.width == wanted.width and given.brackets == wanted.brackets
        return same_frame and _same_sequence(given.items, wanted.items, formulas)
    if shapes == {Shape.SET}:
        return _same_list(
            _distinct(given.items, formulas), _distinct(wanted.items, formulas), formulas
        )
    if shapes <= {Shape.LIST, Shape.SET, Shape.FORMULA}:
        if shapes == {Shape.LIST} and named_alike(given, wanted):
            return _same_named(given, wanted, formulas)
        return _same_list(given.items, wanted.items, formulas)
    if shapes == {Shape.LIST, Shape.TUPLE}:
        return _same_named(given, wanted, formulas)
    vectors = {Shape.TUPLE, Shape.COLUMN, Shape.ROW, Shape.BRACKET}
    if shapes <= vectors and (Shape.COLUMN in shapes or Shape.ROW in shapes):
        closed = {"", "()", "[]"} >= {given.brackets, wanted.brackets}
        return (
            shapes != {Shape.COLUMN, Shape.ROW}
            and closed
            and _same_sequence(given.items, wanted.items, formulas)
        )
    return False


def _only_point(parts: Parts) -> Parts:
    """The point of a set that holds nothing else."""
    inner = parts_of(parts.items[0]) if parts.shape is Shape.SET and len(parts.items) == 1 else None
    return inner if inner and inner.shape is Shape.TUPLE else parts


def _same_sequence(a: Sequence[str], b: Sequence[str], formulas: Formulas) -> bool:
    return len(a) == len(b) and all(
        _same_item(one, other, formulas) for one, other in zip(a, b, strict=True)
    )


def _same_named(a: Parts, b: Parts, formulas: Formulas) -> bool:
    """Whether items that say what they are, as x = 1, y = 2, are the same in that order."""
    return _same_sequence(in_order_of_names(a.items), in_order_of_names(b.items), formulas)


def _same_list(a: Sequence[str], b: Sequence[str], formulas: Formulas) -> bool:
    """Whether two lists hold the same, in whatever order, each as often."""
    if len(a) != len(b):
        return False
    left = list(b)
    for one in a:
        at = next((i for i, other in enumerate(left) if _same_item(one, other, formulas)), None)
        if at is None:
            return False
        del left[at]
    return True


def _same_item(a: str, b: str, formulas: Formulas) -> bool:
    if a == b:
        return True
    if not (LABEL.match(a) and LABEL.match(b)):
        a, b = LABEL.sub("", a), LABEL.sub("", b)
    return compare(a, b, formulas).correct


def _distinct(items: Sequence[str], formulas: Formulas) -> list[str]:
    found: list[str] = []
    for item in items:
        if not any(_same_item(item, other, formulas) for other in found):
            found.append(item)
    return found


def _formula(a: str, b: str, formulas: Formulas) -> Decision:
    """Two formulas, perhaps with units."""
    a, given = unit_behind(strip_outer(a))
    b, wanted = unit_behind(strip_outer(b))
    rule = Rule.SYMBOLIC
    if given and wanted:
        if not same_kind(given, wanted):
            return Decision(Rule.UNITS, False)
        if given.kind == wanted.kind and given.factor != wanted.factor:
            factor = given.factor / wanted.factor
            a, rule = (
                rf"({a}) \cdot \frac{{{factor.numerator}}}{{{factor.denominator}}}",
                Rule.UNITS,
            )
    if decision := _numbers(a, b):
        return decision
    return Decision(rule, formulas.same(a, b))


def _one_of_equals(text: str, formulas: Formulas) -> str:
    """The first of several ways to write one value: `1.5 or 3/2`."""
    ways = split_at(text, EITHER) if "or" in text else [text]
    first = ways[0]
    return first if all(_same_item(way, first, formulas) for way in ways[1:]) else text


def _only_equation(names: tuple[Any, Any], a: str, b: str) -> bool:
    """Whether one side is an equation without a name on its left, as 2x + y = 3."""
    return any(name is None and "=" in text for name, text in zip(names, (a, b), strict=True))
