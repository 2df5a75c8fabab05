"""One notation for what LaTeX, Unicode and plain typing write in many ways."""

from __future__ import annotations

import re

from rsdecode.core.answer import extract_answer
from rsdecode.core.numbers import MINUS_SIGNS, SPACES, plain_number_text

_SYMBOLS = str.maketrans(
    {
        **dict.fromkeys(MINUS_SIGNS, "-"), **dict.fromkeys(SPACES, " "),
        "∞": r"\infty ", "π": r"\pi ", "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ", "×": r"\times ",
        "·": r"\cdot ", "⋅": r"\cdot ", "÷": r"\div ", "∪": r"\cup ", "∩": r"\cap ", "∈": r"\in ",
        "∅": r"\emptyset ", "ℝ": r"\mathbb{R}", "ℤ": r"\mathbb{Z}", "ℕ": r"\mathbb{N}",
        "∨": r"\lor ", "∧": r"\land ", "∖": r"\setminus ", "∠": r"\angle ", "△": r"\triangle ",
        "±": r"\pm ", "°": r"^\circ ", "√": r"\sqrt ", "≈": r"\approx ", "∶": ":", "：": ":",
        "⟨": r"\langle ", "⟩": r"\rangle ", "¢": " cents", "’": "'", "…": r"\ldots ",
        "φ": r"\phi ", "λ": r"\lambda ", "¾": r"\frac{3}{4}",
        "½": r"\frac{1}{2}", "⅓": r"\frac{1}{3}", "⅔": r"\frac{2}{3}", "¼": r"\frac{1}{4}",
        "θ": r"\theta ", "α": r"\alpha ", "β": r"\beta ", "，": ",",
        "、": ", ", "；": ";", "或": " or ", "和": " and ", "与": " and ",
    }
)  # fmt: skip
_REWRITTEN = [
    (re.compile(pattern), replacement)
    for pattern, replacement in [
        (r"\\(?:left|right|bigl?|bigr|Bigl?|Bigr|displaystyle|limits)(?![A-Za-z])\.?", ""),
        (
            r"\\(?:tiny|small|normalsize|[lL]arge|LARGE|[hH]uge|(?:text|script)style|checkmark|qed|strut)"
            r"(?![A-Za-z])",
            "",
        ),
        (r"\\(?:color|textcolor|hspace|vspace|h?phantom|tag|label)\*?\s*\{[^{}]*\}", ""),
        (r"\\(?:underline|boxed|fbox|hbox)(?=\s*\{)", ""),
        (
            r"\\(?:operatorname\*?\s*\{\s*(sec|max|min|exp|(?:arc)?(?:sin|cos|tan|cot|csc)h?|log|ln)"
            r"|(?:mathrm|text|textrm)\s*\{\s*((?:arc)?(?:sin|cos|tan|cot|csc)h?|log|ln))\s*\}",
            r"\\\1\2 ",
        ),
        (r"(?<=\d)\.\.\.", r"\\ldots "),
        (r"(?<!\\)\\[()\[\]]", ""),  # delimiters of formulas, not brackets
        (r"(?<!\\)\\!\s*", ""),
        (r"(?<!\\)\\(?:[,;:> ]|q?quad(?![A-Za-z]))|~", " "),
        (r"\\[dtc]frac(?![A-Za-z])", r"\\frac"),
        (r"\\[dt]binom(?![A-Za-z])", r"\\binom"),
        (r"(?<!\\)\\\\(?=frac|sqrt|pi|cdot|times|text|circ|infty)", r"\\"),  # escaped twice
        (r"\{([,:;])\}", r"\1"),
        (r"\\?\$", ""),
        (r"\\%", "%"),
        (r"\\(?:geqslant|geq)(?![A-Za-z])", r"\\ge"),
        (r"\\(?:leqslant|leq)(?![A-Za-z])", r"\\le"),
        (r"\\neq(?![A-Za-z])|\\not\s*=", r"\\ne"),
        (r"\\lbrace(?![A-Za-z])", r"\\{"),
        (r"\\rbrace(?![A-Za-z])", r"\\}"),
        (r"\\lbrack(?![A-Za-z])", "["),
        (r"\\rbrack(?![A-Za-z])", "]"),
        (r"\\[lr]?vert(?![A-Za-z])", "|"),
        (r"\\colon(?![A-Za-z])", ":"),
        (r"\\varnothing(?![A-Za-z])", r"\\emptyset"),
        (r"\\var(phi|epsilon|theta|rho)(?![A-Za-z])", r"\\\1"),
        (r"\\(?:dots[cb]?|cdots)(?![A-Za-z])", r"\\ldots"),
        (r"\\(?:lg)(?![A-Za-z])", r"\\log_{10}"),
        (r"\\tg(?![A-Za-z])", r"\\tan"),
        (r"\\(?:ctg|cotg)(?![A-Za-z])", r"\\cot"),
        (r"\\(?:vee)(?![A-Za-z])", r"\\lor"),
        (r"\\(?:wedge)(?![A-Za-z])", r"\\land"),
        (r"\\(?:mathrm|text|textrm)\s*\{\s*([ied])\s*\}", r"\1"),
        (r"\\imath(?![A-Za-z])", "i"),
        (r"\\(?:mathbf|mathrm|Bbb|mathds)\s*\{?([RZNQ])\}?(?![A-Za-z}])", r"\\mathbb{\1}"),
        (r"\\mathbb\s*([RZNQC])(?![A-Za-z])", r"\\mathbb{\1}"),
        (r"\^\s*\{\s*\\circ\s*\}|\^\s*\\circ(?![A-Za-z])|\\degree(?![A-Za-z])", r"^\\circ"),
        (r"(?<=[\d}])\s*\\(?:text|mathrm|mbox)\{\s*degrees?\s*\}", r"^\\circ"),
    ]
]
_WRAPPER = re.compile(
    r"\\(?:text(?:bf|it|rm|normal|sf|tt)?|math(?:rm|bf|it|sf|tt)|mbox|boldsymbol|bm|operatorname)"
    r"\s*\{((?:[^{}]|\{[^{}]*\})*)\}"
)
_BRACE = re.compile(r"\\.|[{}]")
_SPACE = re.compile(r"\s+")
_EMPHASIS = re.compile(r"^(\*\*|\*|__|`)(.*)\1$", re.DOTALL)
_ARTICLES = re.compile(r"\b(?:the|an?)\s+(?=\w{2})")
_WORDS = re.compile(r"[A-Za-z][A-Za-z' .,-]*|\d{1,2}(?::\d\d)?\s*[ap]\.?\s?m\.?", re.IGNORECASE)
_LONG_WORD = re.compile(r"(?!sqrt|infinity|alpha|beta|theta|and\b|log\b)[A-Za-z]{3,}")
_LEADING = re.compile(
    r"^\s*(?:\\(?:therefore|Rightarrow|Longrightarrow|implies)(?![A-Za-z])"
    r"|\\(?:text|mbox)\s*\{\s*(?:so|thus|hence|therefore|approximately|about|roughly|around)[,:]?\s*\})\s*",
    re.IGNORECASE,
)
_ANNOUNCED = re.compile(
    r"^\s*(?:\\(?:text|mbox|textbf)\s*\{)?\s*(?:(?:so|thus|hence|therefore),?\s+)?(?:the\s+)?(?:final\s+|correct\s+)?"
    r"(?:answer|solution|result|value|ratio|probability|time|sum|area|total|solution\s+set)s?\s*(?:(?:is|are)(?:\s*:)?|:|=)\s*\}?\s*(?=\S)",
    re.IGNORECASE,
)
_REMARK = re.compile(
    r"(?<=[\d})$%])\s*(?:\\text\s*\{)?\s*\((?:(?!mod)[A-Za-z][A-Za-z ]{2,}\)\s*\}?"
    r"|(?:since|because|see|from|as)\b.*\)\s*\}?)\s*$"
)
_BASES = {
    "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7", "eight": "8",
    "nine": "9", "ten": "10", "twelve": "12", "sixteen": "16",
}  # fmt: skip
_BASE = re.compile(
    rf"\(?(?P<digits>(?=[a-f]*\d)[0-9a-f]+)\)?(?:_\{{?(?P<base>\d{{1,2}}|{'|'.join(_BASES)})\}}?"
    rf"|\(?(?:in)?base\{{?(?P<base2>\d{{1,2}}|{'|'.join(_BASES)})\}}?\)?)"
)


def tidy(text: str) -> str:
    """The text with one spelling for each symbol, without dollars, spacing and emphasis."""
    text = plain_number_text(text).translate(_SYMBOLS)
    for pattern, replacement in _REWRITTEN:
        text = pattern.sub(replacement, text)
    text = _SPACE.sub(" ", text).strip().rstrip(".:").strip()
    if emphasised := _EMPHASIS.match(text):
        text = emphasised.group(2).strip()
    return text


def unwrapped(text: str, before: str = "") -> str:
    r"""The text with `\text{...}` and its like replaced by `before` and what they hold."""
    return _WRAPPER.sub(rf"{before}\1", text)


def without_braces(text: str) -> str:
    """The text without a pair of braces around all of it, which would make a set of a tuple."""
    depth = 0
    for brace in _BRACE.finditer(text):
        depth += {"{": 1, "}": -1}.get(brace.group(), 0)
        if depth == 0 and brace.end() < len(text):
            return text
    return text[1:-1].strip() if text.startswith("{") and depth == 0 else text


def without_announcement(text: str) -> str:
    r"""The text without "the answer is" in front of it and a remark in brackets behind it."""
    text = _LEADING.sub("", text)
    announced = _ANNOUNCED.match(text)
    if announced:
        text = text[announced.end() :]
        if text.count("}") > text.count("{"):  # it began in the wrapper that all of the text is in
            text = text.rstrip(". ").removesuffix("}")
    return _REMARK.sub("", text).strip() or text


def compact(text: str) -> str:
    """A key under which two spellings of the same text are equal."""
    return _SPACE.sub("", unwrapped(tidy(text))).rstrip(".")


def words_of(reference: str) -> str | None:
    """The words that a reference consists of; None if it is mathematics.

    A few letters without a wrapper may be a product of variables, and are not words.
    """
    tidied = tidy(reference)
    plain = unwrapped(tidied).strip()
    if not _WORDS.fullmatch(plain) or ("," in plain and not re.search(r"[A-Za-z]{3}", plain)):
        return None
    if plain == tidied and " " not in plain and len(plain) < 4:
        return None
    return plain if len(plain) > 1 else None


def is_prose(answer: str) -> bool:
    """Whether an answer is a phrase, which no formula equals."""
    plain = words_of(answer)
    return plain is not None and len(_LONG_WORD.findall(plain)) > 1


def said(words: str) -> str:
    """A key under which two phrasings of the same words are equal."""
    plain = unwrapped(tidy(words)).casefold().replace("-", " ")
    plain = re.sub(r"[^\w\s:]", "", plain)
    plain = re.sub(r"(?<=\d)\s+(?=[ap]m\b)", "", plain)
    return " ".join(_ARTICLES.sub(" ", plain).split())


def digits_in_base(text: str) -> tuple[str, str] | None:
    """The digits and the base of a number such as 52_8, (52)_{eight}, 52 (base 8)."""
    number = _BASE.fullmatch(compact(text).lower())
    if number is None:
        return None
    base = number["base"] or number["base2"]
    return number["digits"].lstrip("0").upper(), _BASES.get(base, base)


def final_answer(reference: str) -> str:
    """The answer of a reference that may be a whole solution (GSM8K's "#### 42", a box)."""
    if "####" in reference:
        return reference.rpartition("####")[2].strip()
    if r"\boxed" in reference and (boxed := extract_answer(reference)) is not None:
        return boxed
    return reference.strip()
