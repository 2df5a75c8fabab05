"""The operations of the abacus task: how each is worded, when it is possible, how it is worked.

An operation is a set of wordings for the question and one function. The function draws operands
that fit the running value (or says that there are none) and returns the words to fill in, the step
that solves it, and the new value.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

from rsdecode.models.abacus import working
from rsdecode.models.abacus.wording import FRACTIONS, MONEY, PERCENTAGES


class Scene(NamedTuple):
    """What an operation finds: the running value, its unit, and the limits of the level."""

    value: int
    unit: str
    name: str
    friend: str
    other_unit: str
    largest_value: int
    largest_operand: int
    long_products: bool


class Move(NamedTuple):
    """What an operation does: words for the question, the solved step, the new value and unit."""

    words: dict[str, object]
    step: str
    value: int
    unit: str


Play = Callable[[Scene, Random], Move | None]


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation: its name, how often it is tried, its wordings, and what it does."""

    name: str
    weight: int
    wordings: tuple[str, ...]
    play: Play


def _operand(scene: Scene, rng: Random, most: int) -> int | None:
    top = min(scene.largest_operand, most)
    return rng.randint(3, top) if top >= 3 else None


def _factor(scene: Scene, rng: Random) -> int | None:
    room = scene.largest_value // max(1, scene.value)
    if scene.long_products and scene.value < 100 and room >= 12 and rng.random() < 0.5:
        return rng.randint(11, min(room, 39))
    return rng.randint(3, min(room, 9)) if room >= 3 else None


def _divisor(scene: Scene, rng: Random) -> int | None:
    fitting = [k for k in range(3, 10) if scene.value % k == 0 and scene.value >= 3 * k]
    return rng.choice(fitting) if fitting else None


def _add(scene: Scene, rng: Random) -> Move | None:
    a = _operand(scene, rng, scene.largest_value - scene.value)
    if a is None:
        return None
    step = f"Adding {a} gives {working.add(scene.value, a)} {scene.unit}."
    return Move({"a": a}, step, scene.value + a, scene.unit)


def _subtract(scene: Scene, rng: Random) -> Move | None:
    a = _operand(scene, rng, scene.value - 5)
    if a is None:
        return None
    step = f"Taking away {a} leaves {working.subtract(scene.value, a)} {scene.unit}."
    return Move({"a": a}, step, scene.value - a, scene.unit)


def _multiply(scene: Scene, rng: Random) -> Move | None:
    k = _factor(scene, rng)
    if k is None:
        return None
    step = f"Making it {k} times as many gives {working.multiply(scene.value, k)} {scene.unit}."
    return Move({"k": k}, step, scene.value * k, scene.unit)


def _divide(scene: Scene, rng: Random) -> Move | None:
    k = _divisor(scene, rng)
    if k is None:
        return None
    step = f"One of {k} equal parts is {working.divide(scene.value, k)} {scene.unit}."
    return Move({"k": k}, step, scene.value // k, scene.unit)


def _half(scene: Scene, rng: Random) -> Move | None:
    if scene.value % 2 or scene.value < 6:
        return None
    step = f"Half of them is {working.divide(scene.value, 2)} {scene.unit}."
    return Move({}, step, scene.value // 2, scene.unit)


def _double(scene: Scene, rng: Random) -> Move | None:
    if scene.value * 2 > scene.largest_value:
        return None
    step = f"Twice as many is {working.multiply(scene.value, 2)} {scene.unit}."
    return Move({}, step, scene.value * 2, scene.unit)


def _percent(scene: Scene, rng: Random) -> Move | None:
    fitting = [p for p, k in PERCENTAGES.items() if scene.value % k == 0 and scene.value >= 2 * k]
    if not fitting:
        return None
    p = rng.choice(fitting)
    part = scene.value // PERCENTAGES[p]
    step = (
        f"Here {p} percent is {working.divide(scene.value, PERCENTAGES[p])}, "
        f"so {working.subtract(scene.value, part)} {scene.unit} are left."
    )
    return Move({"p": p}, step, scene.value - part, scene.unit)


def _fraction(scene: Scene, rng: Random) -> Move | None:
    fitting = [f for f in FRACTIONS if scene.value % f[3] == 0 and scene.value >= 2 * f[3]]
    if not fitting:
        return None
    words, one, top, bottom = rng.choice(fitting)
    part = scene.value // bottom
    step = (
        f"One {one} is {working.divide(scene.value, bottom)}, "
        f"so {words} is {working.multiply(part, top)} {scene.unit}."
    )
    return Move({"q": words}, step, part * top, scene.unit)


def _fewer(scene: Scene, rng: Random) -> Move | None:
    a = _operand(scene, rng, scene.value - 3)
    if a is None or 2 * scene.value - a > scene.largest_value:
        return None
    theirs = scene.value - a
    step = (
        f"{scene.friend} has {working.subtract(scene.value, a)}, "
        f"so together it is {working.add(scene.value, theirs)} {scene.unit}."
    )
    return Move({"a": a}, step, scene.value + theirs, scene.unit)


def _more(scene: Scene, rng: Random) -> Move | None:
    a = _operand(scene, rng, scene.largest_value - 2 * scene.value)
    if a is None:
        return None
    theirs = scene.value + a
    step = (
        f"{scene.friend} has {working.add(scene.value, a)}, "
        f"so together it is {working.add(scene.value, theirs)} {scene.unit}."
    )
    return Move({"a": a}, step, scene.value + theirs, scene.unit)


def _packs(scene: Scene, rng: Random) -> Move | None:
    a = _operand(scene, rng, (scene.largest_value - scene.value) // 3)
    if a is None:
        return None
    k = rng.randint(3, min(9, (scene.largest_value - scene.value) // a))
    step = (
        f"That brings {working.multiply(a, k)} more, "
        f"so now there are {working.add(scene.value, a * k)} {scene.unit}."
    )
    return Move({"a": a, "k": k}, step, scene.value + a * k, scene.unit)


def _each(scene: Scene, rng: Random) -> Move | None:
    a = _operand(scene, rng, (scene.value - 5) // 3)
    if a is None:
        return None
    k = rng.randint(3, min(9, (scene.value - 5) // a))
    step = (
        f"That takes {working.multiply(a, k)} away, "
        f"so there are still {working.subtract(scene.value, a * k)} {scene.unit}."
    )
    return Move({"a": a, "k": k}, step, scene.value - a * k, scene.unit)


def _sell(scene: Scene, rng: Random) -> Move | None:
    k = None if scene.unit == MONEY else _factor(scene, rng)
    if k is None:
        return None
    step = f"The sale at {k} each brings {working.multiply(scene.value, k)} {MONEY}."
    return Move({"k": k}, step, scene.value * k, MONEY)


def _spend(scene: Scene, rng: Random) -> Move | None:
    k = _divisor(scene, rng) if scene.unit == MONEY else None
    if k is None:
        return None
    step = f"The price of {k} each pays for {working.divide(scene.value, k)} {scene.other_unit}."
    return Move({"k": k}, step, scene.value // k, scene.other_unit)


OPERATIONS = (
    Operation("add", 4, (
        "{n} gets {a} more {u}.",
        "{f} brings another {a} {u}.",
        "Then {n} finds {a} {u}.",
    ), _add),
    Operation("subtract", 4, (
        "{n} gives {a} {u} to {f}.",
        "{n} loses {a} of the {u}.",
        "Then {a} {u} are taken away.",
    ), _subtract),
    Operation("multiply", 4, (
        "The number of {u} grows to {k} times as many.",
        "{n} swaps every one of the {u} for {k} new ones.",
        "Then the pile becomes {k} times as large.",
    ), _multiply),
    Operation("divide", 8, (
        "{n} splits the {u} equally into {k} boxes and keeps one box.",
        "The {u} are shared equally by {k} people, and {n} is one of them.",
        "Then only one in every {k} {u} stays.",
    ), _divide),
    Operation("half", 3, (
        "{n} gives away half of the {u}.",
        "Half of the {u} get lost.",
        "Then {f} takes one half of the {u}.",
    ), _half),
    Operation("double", 3, (
        "The number of {u} doubles.",
        "{n} gets as many {u} again.",
        "Then {f} doubles the pile.",
    ), _double),
    Operation("percent", 4, (
        "{n} gives {p} percent of the {u} away.",
        "It turns out that {p} percent of the {u} are broken and go.",
        "Then {f} takes {p} percent of the {u}.",
    ), _percent),
    Operation("fraction", 4, (
        "{n} keeps only {q} of the {u}.",
        "No more than {q} of the {u} are good and stay.",
        "Then all but {q} of the {u} go.",
    ), _fraction),
    Operation("fewer", 3, (
        "{f} has {a} fewer {u} than {n}, and they put them together.",
        "{n} meets {f}, who owns {a} fewer, and they join their {u}.",
        "Then {f}, with {a} fewer {u} than {n}, adds all of them.",
    ), _fewer),
    Operation("more", 3, (
        "{f} has {a} more {u} than {n}, and they put them together.",
        "{n} meets {f}, who owns {a} more, and they join their {u}.",
        "Then {f}, with {a} more {u} than {n}, adds all of them.",
    ), _more),
    Operation("packs", 4, (
        "{n} gets {k} packs of {a} {u}.",
        "There come {k} friends with {a} {u} each.",
        "Then {f} brings {k} bags with {a} {u} in each.",
    ), _packs),
    Operation("each", 4, (
        "{n} gives {a} {u} to each of {k} friends.",
        "There come {k} children who take {a} {u} each.",
        "Then {n} sends off {k} boxes with {a} {u} in each.",
    ), _each),
    Operation("sell", 4, (
        "{n} sells all {u} for {k} coins each.",
        "A shop pays {k} coins for each of the {u}.",
        "Then {f} buys all {u} at {k} coins each.",
    ), _sell),
    Operation("spend", 8, (
        "{n} spends all coins on {w} at {k} coins each.",
        "All coins go into {w} that cost {k} coins each.",
        "Then {n} buys {w} for {k} coins each until no coins are left.",
    ), _spend),
)  # fmt: skip
