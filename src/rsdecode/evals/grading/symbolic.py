r"""Comparing formulas with math-verify (extra `eval`).

math-verify's own time limit is a signal of the main thread; it is off here, and a process of
`pool.py` is ended instead. Its removal of units is off too: it takes the `t` of `5t` for one.
"""

from __future__ import annotations

import logging
import re
from functools import lru_cache
from typing import Any

from rsdecode.core.errors import ConfigError
from rsdecode.evals.grading.notation import tidy, without_braces

_UNIT = r"\\(?:text(?:rm|normal)?|mathrm|mbox)\s*\{\s*[A-Za-z][A-Za-z\s./]*\}"
_REWRITTEN = [
    (re.compile(pattern), replacement)
    for pattern, replacement in [
        (r"\\(?:text|mbox)\s*\{\s*(?:and|or)\s*\}|(?<![A-Za-z\\])(?:and|or)(?![A-Za-z])", ","),
        (rf"(?<=[\d}})\w])\s*{_UNIT}\s*(?:\^\s*(?:\d|\{{\s*\d\s*\}}))?\s*$", ""),
        (r"(?<=[\d}])(?:\s*(?:[mck]m|ft)|\s+m)\s*\^\s*(?:\d|\{\s*\d\s*\})\s*$", ""),
        (r"\^\\circ(?:\s*\\(?:text|mathrm)\s*\{\s*[CF]\s*\})?", ""),
        (r"^\s*\\\{\s*([A-Za-z])\s*(?:\\mid|\||:)(?:\s*\1\s*\\in(?![A-Za-z]))?(.*)\\\}\s*$", r"\2"),
        (r"^\s*[A-Za-z](?:\s*\([a-z]\))?\s*\\in(?![A-Za-z])", ""),
        (r"_\{\s*\\(?:max|min)\s*\}", ""),
        (r"\*\*", "^"),
        (r"(?<![A-Za-z])\\?sqrt\s*\(((?:[^()]|\([^()]*\))*)\)", r"\\sqrt{\1}"),
        (r"(?<![A-Za-z\\])(sqrt|pi|infty|sin|cos|tan|log|ln)(?![A-Za-z])", r"\\\1"),
        (r"(?<![A-Za-z\\])(?:infinity|inf|oo)(?![A-Za-z])", r"\\infty"),
        (r"(?<![A-Za-z\\])[UuV](?=\s*[\[(])(?<=[\])]\s[UuV])", r"\\cup"),
        (r"C_\{?(\d+)\}?\^\{?(\d+)\}?", r"\\binom{\1}{\2}"),
    ]
]  # fmt: skip


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


def same_formula(answer: str, reference: str) -> bool | None:
    """Whether two formulas are equal; None if one of them cannot be read.

    There is no time limit: some formulas keep sympy busy for ever.

    Raises:
        ConfigError: math-verify is not installed.
    """
    library = load_math_verify()
    wanted, given = _parsed(reference), _parsed(answer)
    if not wanted or not given:
        return None
    return library.verify(wanted, given, allow_set_relation_comp=True, timeout_seconds=None)


def as_latex(text: str) -> str:
    """The text as math-verify reads it best."""
    text = _both_signs(without_braces(tidy(text)))
    for pattern, replacement in _REWRITTEN:
        text = pattern.sub(replacement, text)
    return text.strip().strip(",")


def _both_signs(text: str) -> str:
    r"""Both values of each answer that has a `\pm`, which math-verify knows outside fractions."""
    if r"\pm" not in text or re.search(r"\\\{|\([^)]*,", text):
        return text
    parts = [part.strip() for part in text.split(",")]
    signed = [part.replace(r"\pm", sign) for part in parts for sign in "+-" if r"\pm" in part]
    return ", ".join([*(part for part in parts if r"\pm" not in part), *signed])


def _parsed(text: str) -> list[Any]:
    """What sympy makes of a formula; nothing if it cannot be read."""
    library = load_math_verify()
    latex = as_latex(text)
    found = library.parse(
        f"${latex}$", [_extraction()], fallback_mode="no_fallback", parsing_timeout=None
    )
    return [] if any(value is None for value in found) else found


@lru_cache(maxsize=1)
def _extraction() -> Any:
    from latex2sympy2_extended.latex2sympy2 import NormalizationConfig
    from math_verify.parser import LatexExtractionConfig

    normalization = NormalizationConfig(
        basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="none"
    )
    return LatexExtractionConfig(boxed_match_priority=-1, normalization_config=normalization)
