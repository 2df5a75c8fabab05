"""Answers made from references, of which it is known whether they are right.

rewritten    right: another way to write the same, as models write it
reordered    right for a list or a set; wrong for a point or a tuple with different entries
wrong-by-one wrong: a number of it is one more
turned       wrong: a sign, a bracket, a capital or a unit is another one
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from rsdecode.core.numbers import read_number, terminates
from rsdecode.evals.grading.structure import Shape, parts_of, prepared

_NUMBER = re.compile(r"(?<![\d.,_^{\\A-Za-z])\d+(?![\d.,])")
_LONG = re.compile(r"(?<![\d.,])(\d{1,3})(\d{3})(?![\d.,])")
_WORDS = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}|\\text|\\mbox|m\^")
_LETTERS = re.compile(r"(?<![A-Za-z\\])[a-df-hj-z](?![A-Za-z])")


class Variant(NamedTuple):
    """An answer to the reference, how it was made, and whether it is right."""

    form: str
    text: str
    reference: str
    right: bool


def variants(references: Sequence[str], count: int, seed: int = 0) -> list[Variant]:
    """So many variants, all different; a quarter of the references that are drawn are numbers."""
    rng = random.Random(seed)
    makers: list[tuple[str, Callable[[str, random.Random], tuple[str, bool] | None]]] = [
        ("rewritten", _rewritten),
        ("reordered", _reordered),
        ("wrong-by-one", _wrong_by_one),
        ("turned", _turned),
    ]
    found: dict[tuple[str, str], Variant] = {}
    numbers = [text for text in references if read_number(text.strip("$ ")) is not None]
    others = [text for text in references if read_number(text.strip("$ ")) is None]
    for attempt in range(200 * count):
        if len(found) == count:
            break
        pool = numbers if numbers and rng.random() < 0.25 else others or numbers
        reference = rng.choice(pool).replace("$", "").strip().rstrip(".")
        if _WORDS.search(reference):
            continue
        form, make = makers[attempt % len(makers)]
        if made := make(reference, rng):
            answer, right = made
            if answer.strip() != reference:
                text = (
                    answer if "\\boxed" in answer or "answer" in answer else f"\\boxed{{{answer}}}"
                )
                found.setdefault((text, reference), Variant(form, text, reference, right))
    return list(found.values())


def _rewritten(reference: str, rng: random.Random) -> tuple[str, bool] | None:
    if re.search(r"text|mbox|[A-Z]_|\d_\d", reference) or len(reference) < 1:
        return None
    ways = [f"The answer is ${reference}$.", f"So \\[\\boxed{{{reference}}}.\\]"]
    number = read_number(reference)
    if number is not None and not number.percent:
        value = number.value
        ways += [f"{2 * value.numerator}/{2 * value.denominator}", f"x = {reference}"]
        ways.append(f"The answer is {reference} (checked 2 times).")
        if terminates(value):
            ways.append(f"{float(value):.10g}" if abs(value) < 10**9 else reference)
        if value.denominator == 1 and value >= 1000:
            ways.append(_LONG.sub(r"\1\\,\2", str(value)))
            ways.append(f"{int(value):,}".replace(",", "{,}"))
    parts = parts_of(prepared(reference))
    if parts.shape is Shape.LIST and "pm" not in reference and len(parts.items) < 5:
        ways.append(" and ".join(f"\\boxed{{{item}}}" for item in parts.items))
        ways.append(" \\text{ or } ".join(parts.items))
    if parts.shape is Shape.TUPLE and "\\" not in reference:
        column = " \\\\ ".join(parts.items)
        ways.append(f"\\begin{{pmatrix}}{column}\\end{{pmatrix}}")
    if (
        number is None
        and parts.shape is Shape.FORMULA
        and not re.search(r"[=<>,|\\]|\.", reference)
    ):
        ways.append(f"\\frac{{2({reference})}}{{2}}")
    return rng.choice(ways), True


def _reordered(reference: str, rng: random.Random) -> tuple[str, bool] | None:
    parts = parts_of(prepared(reference))
    if len(parts.items) < 2 or "pm" in reference or len(set(parts.items)) < len(parts.items):
        return None
    items = list(parts.items)
    rng.shuffle(items)
    if items == list(parts.items):
        items.reverse()
    if any("=" in item for item in items):
        return None
    match parts.shape:
        case Shape.LIST:
            return ", ".join(items), True
        case Shape.SET:
            return f"\\{{{', '.join(items)}\\}}", True
        case Shape.TUPLE:
            return f"({', '.join(items)})", False
        case _:
            return None


def _wrong_by_one(reference: str, rng: random.Random) -> tuple[str, bool] | None:
    if re.search(r"pmod|ldots|\\circ.*pi", reference):
        return None
    places = list(_NUMBER.finditer(reference))
    if not places:
        return None
    place = rng.choice(places)
    more = str(int(place.group()) + 1)
    return reference[: place.start()] + more + reference[place.end() :], False


def _turned(reference: str, rng: random.Random) -> tuple[str, bool] | None:
    ways: list[str] = []
    number = read_number(reference)
    if number is not None and number.value:
        ways += [f"-{reference}" if number.value > 0 else reference.replace("-", "", 1)]
        ways += [f"{reference}i", f"{reference} + i"]
        if not number.percent and number.value != 1 and "." not in reference:
            ways += [
                f"{reference}, {reference}",
                f"\\frac{{{number.value.denominator}}}{{{abs(number.value.numerator)}}}",
            ]
    parts = parts_of(prepared(reference))
    if parts.shape is Shape.BRACKET and "infty" not in parts.items[0]:
        opened = (
            reference.replace("[", "(", 1) if "[" in reference else reference.replace("(", "[", 1)
        )
        ways.append(opened)
    if parts.shape is Shape.TUPLE and len(parts.items) == 2:
        ways.append(f"\\{{{', '.join(parts.items)}\\}}")
    if (
        parts.shape is Shape.FORMULA
        and (letters := _LETTERS.findall(reference))
        and "=" not in reference
    ):
        letter = rng.choice(letters)
        ways.append(re.sub(rf"(?<![A-Za-z\\]){letter}(?![A-Za-z])", letter.upper(), reference))
    return (rng.choice(ways), False) if ways else None
