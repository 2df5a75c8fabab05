r"""Remainders: `3 \pmod{5}`, `x \equiv 3 \pmod 5`, `x = 3 (mod 5)`.

math-verify 0.9.0 reads `\pmod` as `\pm` and two variables.
"""

from __future__ import annotations

import re

_CONGRUENCE = re.compile(
    r"\s*(?:(?P<name>[A-Za-z](?:_\{?\w+\}?)?)\s*(?:\\equiv|=|≡)\s*)?(?P<value>-?\d{1,30})\s*,?\s*"
    r"(?:\\pmod\s*\{?\s*(?P<modulus>\d{1,30})\s*\}?|\\mod\s*\{?\s*(?P<modulus2>\d{1,30})\s*\}?"
    r"|\(?\s*(?:\\text\s*\{)?\s*\(?\s*(?:\\bmod|\\mathrm\{mod\}|mod)\s*\}?"
    r"\s*(?P<modulus3>\d{1,30})\s*\)?\s*\}?)\s*"
)


def same_congruence(answer: str, reference: str) -> bool | None:
    """Whether two remainders are the same class; None where one of them is none."""
    a, b = _CONGRUENCE.fullmatch(answer), _CONGRUENCE.fullmatch(reference)
    if a is None or b is None:
        return None
    if a["name"] and b["name"] and a["name"] != b["name"]:
        return False
    moduli = [int(found["modulus"] or found["modulus2"] or found["modulus3"]) for found in (a, b)]
    if moduli[0] != moduli[1] or not moduli[0]:
        return False
    return (int(a["value"]) - int(b["value"])) % moduli[0] == 0
