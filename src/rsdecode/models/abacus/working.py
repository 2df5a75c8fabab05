"""Written arithmetic: equations spelt out the way one does them on paper.

Every function returns one chain of equal expressions, such as ``47 * 6 = 240 + 42 = 282``. Small
models learn a chain of one-digit facts far faster than a result out of nowhere, and each link can
be checked on its own.
"""

from __future__ import annotations


def places(number: int) -> list[int]:
    """Splits a number by decimal place, zeros left out: ``407`` gives ``[400, 7]``."""
    digits = str(number)
    parts = [int(d) * 10 ** (len(digits) - 1 - i) for i, d in enumerate(digits) if d != "0"]
    return parts or [0]


def add(a: int, b: int) -> str:
    """``385 + 247 = 585 + 47 = 625 + 7 = 632``: the second number goes in place by place."""
    return _by_place(a, b, "+", 1)


def subtract(a: int, b: int) -> str:
    """``632 - 247 = 432 - 47 = 392 - 7 = 385``."""
    return _by_place(a, b, "-", -1)


def multiply(a: int, k: int) -> str:
    """``47 * 6 = 240 + 42 = 282``; a two-digit ``k`` is taken apart first."""
    head = f"{a} * {k}"
    products = [x * y for y in places(k) for x in places(a)]
    if len(places(k)) > 1:
        head += " = " + " + ".join(f"{a} * {y}" for y in places(k))
    return head + " = " + _sum_left_to_right(products)


def divide(a: int, k: int) -> str:
    """``282 / 6 = 240 / 6 + 42 / 6 = 40 + 7 = 47``; ``k`` must divide ``a``."""
    if a % k:
        raise ValueError(f"{a!r} is not a multiple of {k!r}")
    parts = places(a // k)
    if len(parts) == 1 or k == 10:
        return f"{a} / {k} = {a // k}"
    pieces = " + ".join(f"{part * k} / {k}" for part in parts)
    return f"{a} / {k} = {pieces} = {' + '.join(map(str, parts))} = {a // k}"


def _by_place(a: int, b: int, sign: str, direction: int) -> str:
    links = [f"{a} {sign} {b}"]
    parts = places(b)
    for i, part in enumerate(parts):
        a += direction * part
        rest = sum(parts[i + 1 :])
        links.append(f"{a} {sign} {rest}" if rest else f"{a}")
    return " = ".join(links)


def _sum_left_to_right(terms: list[int]) -> str:
    links: list[str] = []
    while True:
        links.append(" + ".join(map(str, terms)))
        if len(terms) == 1:
            return " = ".join(links)
        terms = [terms[0] + terms[1], *terms[2:]]
