r"""What formulas are worth, by math-verify and sympy (extra `eval`).

math-verify's own time limit is a signal of the main thread; it is off here, and a process of
`pool.py` is ended instead. Its removal of units is off too: it takes the `t` of `5t` for one. With
math-verify 0.9.0 and latex2sympy2_extended 1.11.0, what is read here goes around these:

- capitals are made small (`N^2` equals `n^2`): `lowercase_symbols` is off;
- `i` is a variable: it is replaced by the imaginary unit;
- `\gamma` is Euler's constant: it stays a letter;
- degrees are dropped: they are turned into radians;
- `\gcd` of letters is that of their names, which is 1: it is a symbol of its own;
- `\log 3 / \log 2` is the logarithm of a quotient: what a function is of gets brackets;
- an equation equals its right side: of a line or a curve it does not;
- decimals are equal if six places after the point are: six digits must be.
"""

from __future__ import annotations

import importlib
import logging
import math
import re
from contextlib import suppress
from functools import lru_cache
from typing import Any

from rsdecode.core.errors import ConfigError
from rsdecode.core.last_formula import is_curve
from rsdecode.core.numbers import match_number
from rsdecode.evals.grading.notation import without_braces

_FUNCTIONS = "sqrt|pi|infty|sin|cos|tan|cot|sec|csc|log|ln|arcsin|arccos|arctan"
_REWRITTEN = [
    (re.compile(pattern), replacement)
    for pattern, replacement in [
        (r"_\{\s*\\(?:max|min)\s*\}", ""),
        (r"\*\*", "^"),
        (r"(?<=\d)[eE]([-+]?\d{1,3})(?![\w.])", r" \\cdot 10^{\1}"),
        (r"(?<![A-Za-z])\\?sqrt\s*\(((?:[^()]|\([^()]*\))*)\)", r"\\sqrt{\1}"),
        (rf"(?<![A-Za-z\\])({_FUNCTIONS})(?![A-Za-z])", r"\\\1"),
        (r"(?<![A-Za-z\\])(?:infinity|inf|oo)(?![A-Za-z])", r"\\infty"),
        (r"\\mathrm\{C\}|\\text\{C\}", "C"),
        (r"(?<![A-Za-z\\])C_\{?(\w+)\}?\^\{?(\w+)\}?", r"\\binom{\1}{\2}"),
        (r"(?:\{\}\s*[_^]|(?<![\w}])_)\{?(\w+)\}?C_\{?(\w+)\}?", r"\\binom{\1}{\2}"),
        (r"\\ldotp|\\cdotp", r"\\cdot"),
        (r"\\lvert|\\rvert", "|"),
        (r"\\(?:text|mathrm|textrm|mathit)\s*\{\s*([A-Za-z])\s*\}", r"\1"),
        (r"\\exp(?![A-Za-z])\s*\(((?:[^()]|\([^()]*\))*)\)", r"e^{\1}"),
        (r"\\exp(?![A-Za-z])\s*\{?([^(){}]*)\}?", r"e^{\1}"),
        (
            r"(?:\\(?:operatorname|text|mathrm)\s*\{\s*cis\s*\}|\\?(?<![A-Za-z])cis(?![A-Za-z]))"
            r"\s*\(?((?:[^(){}+-]|\{[^{}]*\})+)\)?",
            r"e^{i \1}",
        ),
        (r"\\div(?![A-Za-z])", "/"),
        (r"\{\}\s*\^\{?(\w+)\}?P_\{?(\w+)\}?", r"\\frac{(\1)!}{(\1-\2)!}"),
        (r"(?<![A-Za-z\\])C\((\w+),\s*(\w+)\)", r"\\binom{\1}{\2}"),
        (r"(?<!\w)(\w+!)\s*\^", r"{\1}^"),
        (r"\\(max|min|gcd)\s*\\\{([^{}]*)\\\}", r"\\\1(\2)"),
        (r"\\sqrt\[(\d*[13579])\]\{\s*-\s*(\d+)\s*\}", r"(-\\sqrt[\1]{\2})"),
        (rf"(?<=\\)({_FUNCTIONS})(_\{{?\w+\}}?)?\s+\{{?(\w+)\}}?(?=\s*/\s*\\|\s+/)", r"\1\2(\3)"),
    ]
]  # fmt: skip
_CHOOSE = re.compile(
    r"\{\s*([^{}]*?)\s*\\choose(?![A-Za-z])\s*([^{}]*?)\s*\}|^\s*\(?([^{}()]*?)\\choose(?![A-Za-z])([^{}()]*?)\)?\s*$"
)
_DIVISOR = re.compile(
    r"\\?(?:(?:operatorname|text|mathrm)\s*\{\s*)?(?<![A-Za-z])(gcd|lcm)\s*\}?\s*\(([^()]*)\)"
)
_REPEATING = re.compile(r"\d*\.\d*\\(?:overline|dot)\s*(?:\{\d+\}|\d)(?:\d*\\dot\s*(?:\{\d\}|\d))?")
_DEGREES = re.compile(
    r"(\d+(?:\.\d+)?|\\frac\s*\{[^{}]*\}\s*\{[^{}]*\}|\([^()]*\)|[A-Za-z]|\})\s*\^\s*\\circ(?![A-Za-z])"
)
_TRIGONOMETRY = re.compile(r"\\(?:arc)?(?:sin|cos|tan|cot|sec|csc)(?![A-Za-z])")
_TOLERANCE = 1e-6
_INDEX = re.compile(r"\\(?:sum|prod)(?![A-Za-z])")


def load_math_verify() -> Any:
    """Import math-verify: seconds, which a worker spends before its first answer.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import math_verify
    except ImportError as error:
        raise ConfigError(
            f"grading formulas needs math-verify ({error}): pip install 'rsdecode[eval]'"
        ) from None
    for name in ("math_verify", "latex2sympy2_extended"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return math_verify


class SympyFormulas:
    """Compares single formulas and equations. There is no time limit."""

    def __init__(self) -> None:
        self._library = load_math_verify()

    def same(self, answer: str, reference: str) -> bool:
        """Whether two formulas are equal.

        Raises:
            UnreadableError: one of them cannot be read.
        """
        return any(self._same(a, b) for a, b in _readings(answer, reference))

    def value(self, text: str) -> float | None:
        """The value of a real constant; None of anything else."""
        try:
            value = complex(_parsed(_in_radians(as_latex(text))).evalf())
        except (UnreadableError, TypeError, ValueError, AttributeError, RecursionError):
            return None
        return value.real if abs(value.imag) < 1e-12 else None

    def progressions(self, items: tuple[str, ...], letter: str) -> list[tuple[Any, Any]] | None:
        """Period and offset of each `a n + b`; None where one of them is no such formula."""
        sympy = _sympy()
        found: list[tuple[Any, Any]] = []
        for item in items:
            try:
                formula = sympy.expand(_parsed(_in_radians(as_latex(item))))
                symbol = sympy.Symbol(letter, real=True)
                period = formula.coeff(symbol, 1)
            except (UnreadableError, AttributeError, TypeError):  # a relation, for one
                return None
            offset = sympy.simplify(formula - period * symbol)
            if period.free_symbols or offset.free_symbols:
                return None
            found.append((period, offset))
        return found

    def same_families(self, a: list[tuple[Any, Any]], b: list[tuple[Any, Any]]) -> bool:
        """Whether two unions of progressions hold the same numbers."""
        sympy = _sympy()
        periods = [period for period, _ in (*a, *b) if period != 0]
        if not periods:
            return False
        unit = periods[0]
        ratios = [sympy.nsimplify(sympy.simplify(period / unit)) for period in periods]
        if not all(ratio.is_Rational for ratio in ratios):
            return False
        common = sympy.ilcm(1, 1, *(abs(ratio.p) for ratio in ratios))
        common = sympy.Rational(common, sympy.igcd(0, *(ratio.q for ratio in ratios)))
        if max(abs(common / ratio) for ratio in ratios) > 1000:
            return False
        return _residues(a, unit, common) == _residues(b, unit, common)

    def _same(self, answer: str, reference: str) -> bool:
        curves = [is_curve(side.partition("=")[0]) for side in (answer, reference) if "=" in side]
        if len(curves) == 1 and curves[0]:
            return False
        given, wanted = _parsed(answer), _parsed(reference)
        names = [{str(s) for s in getattr(side, "free_symbols", ())} for side in (given, wanted)]
        if answer.count("'") != reference.count("'"):  # primes are dropped when they are read
            return False
        if "E" in names[0] ^ names[1]:  # for math-verify the same as the base of logarithms
            return False
        if names[0] != names[1] and {n.lower() for n in names[0]} == {n.lower() for n in names[1]}:
            return False
        same = self._library.verify(
            [wanted], [given], allow_set_relation_comp=True, timeout_seconds=None
        )
        return same and _close(given, wanted)


class UnreadableError(ValueError):
    """A formula cannot be read."""


def as_latex(text: str) -> str:
    """The text as math-verify reads it best."""
    text = without_braces(text)
    text = _REPEATING.sub(_as_fraction, text)
    text = _CHOOSE.sub(lambda m: rf"\binom{{{m[1] or m[3]}}}{{{m[2] or m[4]}}}", text)
    for pattern, replacement in _REWRITTEN:
        text = pattern.sub(replacement, text)
    text = _DIVISOR.sub(_divisor, text)
    return text.strip().strip(",")


def _readings(answer: str, reference: str) -> list[tuple[str, str]]:
    """What the two may mean: degrees where both have them or one is an angle in radians."""
    a, b = as_latex(answer), as_latex(reference)
    degrees = [r"\circ" in side for side in (a, b)]
    if not any(degrees):
        return [(a, b)]
    readings = [(_in_radians(a), _in_radians(b))]
    bare = not any(_TRIGONOMETRY.search(side) or r"\pi" in side for side in (a, b))
    if bare and not all(degrees):
        readings.append((_without_degrees(a), _without_degrees(b)))
    return readings


def _in_radians(latex: str) -> str:
    def radians(found: re.Match[str]) -> str:
        angle = found[1]
        return r"} \cdot \frac{\pi}{180}" if angle == "}" else rf"({angle}\cdot\frac{{\pi}}{{180}})"

    return _DEGREES.sub(radians, latex)


def _without_degrees(latex: str) -> str:
    return re.sub(r"\^\s*\\circ(?![A-Za-z])", "", latex)


def _divisor(found: re.Match[str]) -> str:
    """A common divisor or multiple of letters as a symbol of its own."""
    items = sorted(item.strip() for item in found[2].split(","))
    if all(item.isdigit() for item in items):
        numbers = map(int, items)
        return str(math.gcd(*numbers) if found[1] == "gcd" else math.lcm(*numbers))
    return f"D_{{{int.from_bytes(f'{found[1]}{items}'.encode())}}}"


def _as_fraction(found: re.Match[str]) -> str:
    number = match_number(found.group())
    if number is None or number[1] != len(found.group()):
        return found.group()
    value = number[0].value
    return rf"\frac{{{value.numerator}}}{{{value.denominator}}}"


@lru_cache(maxsize=256)
def _parsed(latex: str) -> Any:
    """What sympy makes of a formula.

    Raises:
        UnreadableError: it cannot be read.
    """
    library: Any = importlib.import_module("latex2sympy2_extended.latex2sympy2")
    grader: Any = importlib.import_module("math_verify.grader")
    if not latex or latex.count("{") - latex.count(r"\{") != latex.count("}") - latex.count(r"\}"):
        raise UnreadableError(latex)
    named = re.sub(r"\\gamma(?![A-Za-z])", r"g_{amma}", latex)
    named = re.sub(r"\\Gamma(?![A-Za-z])(?!\s*\()", r"G_{amma}", named)
    try:
        formula: Any = library.latex2sympy(
            library.normalize_latex(named, _normalization()),
            is_real=not grader.should_treat_as_complex(latex),
            normalization_config=None,
            conversion_config=library.ConversionConfig(lowercase_symbols=False),
        )
    except Exception as error:
        raise UnreadableError(latex) from error
    if formula is None:
        raise UnreadableError(latex)
    return _with_plain_symbols(formula, imaginary=not _INDEX.search(latex))


def _with_plain_symbols(formula: Any, *, imaginary: bool) -> Any:
    """All symbols real, whatever the other formula is, and `i` the imaginary unit."""
    sympy = _sympy()
    symbols: set[Any] = getattr(formula, "free_symbols", set[Any]())
    new: dict[Any, Any] = {
        s: sympy.Symbol(s.name, real=True) for s in symbols if isinstance(s, sympy.Symbol)
    }
    if imaginary:
        new.update({s: sympy.I for s in new if s.name == "i"})
    changed = {old: value for old, value in new.items() if old != value}
    if not changed:
        return formula
    with suppress(TypeError, ValueError, AttributeError):
        return formula.subs(changed)
    return formula


def _close(a: Any, b: Any) -> bool:
    """False where two numbers are only equal to six decimals, but not to six digits."""
    try:
        one, other = complex(a.evalf()), complex(b.evalf())
        return abs(one - other) <= _TOLERANCE * max(abs(one), abs(other))
    except (TypeError, ValueError, AttributeError, OverflowError, RecursionError):
        return True  # they are no numbers, as sympy found out in one way or another, or too large


def _residues(progressions: list[tuple[Any, Any]], unit: Any, common: Any) -> set[Any]:
    """The offsets of progressions, each as several of the common period, in one period."""
    sympy = _sympy()
    found: set[Any] = set()
    for period, offset in progressions:
        start = sympy.nsimplify(sympy.simplify(offset / unit), rational=None)
        if period == 0:
            found.add(("once", start))
            continue
        step = abs(sympy.nsimplify(sympy.simplify(period / unit)))
        for times in range(int(common / step)):
            found.add(sympy.simplify(sympy.Mod(start + times * step, common)))
    return found


def _sympy() -> Any:
    return importlib.import_module("sympy")


@lru_cache(maxsize=1)
def _normalization() -> Any:
    from latex2sympy2_extended.math_normalization import NormalizationConfig

    return NormalizationConfig(
        basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="none"
    )
