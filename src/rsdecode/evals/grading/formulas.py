"""What the comparison of answers asks of whoever can compute with formulas."""

from __future__ import annotations

from typing import Any, Protocol

from rsdecode.core.numbers import read_number


class Formulas(Protocol):
    """What single formulas are worth (`symbolic.SympyFormulas`)."""

    def same(self, answer: str, reference: str) -> bool:
        """Whether two formulas are equal."""
        ...

    def value(self, text: str) -> float | None:
        """The value of a real constant."""
        ...

    def progressions(self, items: tuple[str, ...], letter: str) -> list[tuple[Any, Any]] | None:
        """Period and offset of each formula."""
        ...

    def same_families(self, a: list[tuple[Any, Any]], b: list[tuple[Any, Any]]) -> bool:
        """Whether unions of progressions are the same."""
        ...


class FormulaNeeded(Exception):
    """A formula must be compared, for which sympy must be loaded."""


class NoFormulas:
    """Compares no formulas: says that one is needed."""

    def same(self, answer: str, reference: str) -> bool:
        raise FormulaNeeded

    def value(self, text: str) -> float | None:
        number = read_number(text)
        if number is None:
            raise FormulaNeeded
        return float(number.value)

    def progressions(self, items: tuple[str, ...], letter: str) -> list[tuple[Any, Any]] | None:
        raise FormulaNeeded

    def same_families(self, a: list[tuple[Any, Any]], b: list[tuple[Any, Any]]) -> bool:
        raise FormulaNeeded
