"""The arithmetic reward: a table of cases, and laws."""

from __future__ import annotations

import time
from fractions import Fraction

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rsdecode.core.requests import Scored
from rsdecode.core.types import Usage
from rsdecode.rewards import ArithmeticReward
from rsdecode.rewards.arithmetic.equations import check_equations
from tests.rewards.tiny import request

HOLDS = [
    "2 + 2 = 4",
    "The total is 5+3=8.",
    "2 + 3 * 4 = 14",
    "6 - 2 - 1 = 3",
    "6 / 2 * 3 = 9",
    "10-5=5",
    "12 = 3 * 4",
    "7 - 10 = -3",
    "-5 + 3 = -2",
    "-2^2 = -4",
    "(-2)^2 = 4",
    "2^10 = 1024",
    "2**3 = 8",
    "2^3^2 = 512",
    "2^-1 = 0.5",
    "3² = 9",
    "3^{2} = 9",
    "(1 + 2)(3 + 4) = 21",
    "2(3+4) = 14",
    "[2 + 3] * 2 = 10",
    "3 == 3",
    "0.1 + 0.2 = 0.3",
    "1,000 + 2,500 = 3,500",
    "$1,200.50 - $200.50 = $1,000",
    "€5 + £3 = 8",
    "$5 + $3 = $8",
    "-$5 + $3 = -$2",
    "12 ÷ 4 = 3",
    "3 · 4 = 12",
    "3 × 4 = 12",
    "3 − 5 = −2",
    "5 x 3 = 15",
    "5x3=15",
    "2 x (3 + 4) = 14",
    "3 + 4 = 7 = 8 - 1",
    "x = 5 + 3 = 8",
    "x = 3, y = 4, so 3 + 4 = 7",
    "total = price * 2 = 5 * 2 = 10",
    "f(2) = 2 + 3 = 5",
    "P(A) = 3/5 = 0.6",
    "5 apples + 3 apples = 8 apples",
    "5 apples + another 3 = 8",
    "3 apples * $2 per apple = $6",
    "60 miles/hour * 2 hours = 120 miles",
    "60 km / 2 hours = 30 km/hour",
    "5 cm * 3 cm = 15 cm^2",
    "3 (breakfast) + 4 (baking) = 7 eggs",
    "5 + 3 = 8 (apples)",
    "5 + 3 (2 from Tom) = 8",
    "(5 + 3 = 8)",
    "There are 12 months in a year, so 12 * 5 = 60.",
    "a 10-mile trip is 10 * 2 = 20",
    "So 12 * 3 = 36 and 36 - 6 = 30.",
    "5 + 3 = 8 and 2 + 2 = 4 are right",
    "5 plus 3 equals 8",
    "5 times 3 = 15",
    "15 divided by 3 equals 5",
    "3 out of 4 = 75%",
    "20% of 50 = 10",
    "20 percent of 50 = 10",
    "1/2 of 10 = 5",
    "50 * 20% = 10",
    "100% - 20% = 80%",
    "15/60 = 25%",
    "15/60 * 100 = 25%",
    "10 / 3 = 3.33",
    "10/4 = 2.50",
    "2/3 = 0.67",
    "2/3 = 0.66...",
    "1/3 = 33%",
    "1/3 = 33.3%",
    "2 1/2 + 1 = 3 1/2",
    "½ + ¼ = ¾",
    "\\frac{1}{2} + \\frac{1}{3} = \\frac{5}{6}",
    "\\dfrac{1}{3} = 0.33",
    "2\\frac{1}{2} + 1 = 3.5",
    "\\frac{10 - 4}{2} = 3",
    "$2 \\times 3 = 6$",
    "\\(3 \\cdot 4 = 12\\)",
    "\\[ 10 \\div 4 = 2.5 \\]",
    "\\left(2+3\\right)\\times 4 = 20",
    "9 \\times 2 = 18 \\text{ dollars}",
    "5 \\text{ kg} + 3 \\text{ kg} = 8 \\text{ kg}",
    "1{,}000 + 1\\,000 = 2000",
    "\\$5 + \\$3 = \\$8",
    "5 + 3 = \\boxed{8}",
    "10/3 = \\boxed{3.33}",
    "5 - 8 = (-3)",
    "20/50 = \\boxed{40\\%}",
    "-11 + 50 = 39 and -11 + 2 * 50 = 89",
    "\\frac{1}{2} of 10 = 5",
    "\\begin{align*} x &= 2 + 3 \\\\ &= 5 \\end{align*}",
    "30° + 60° = 90°",
    "3 + 4\n= 7",
    "3 + 4 =\n7",
    "- 5 + 3 = 8",
    "2. 10 - 3 = 7",
    "a) 5 + 3 = 8",
    "Step 1: 5 + 3 = 8",
    "Step 2 - 5 + 3 = 8",
    "- Eggs: 3 + 4 = 7\n- Left: 16 - 7 = 9",
    "**Total:** 5 + 3 = **8**",
    "5+8 = <<5+8=13>>13",
    "5 + 3 = 8!",
]
FAILS = [
    "2 + 2 = 5",
    "2 + 3 * 4 = 20",
    "5 + 3 = 8, so 8 * 2 = 17",
    "3 + 4 = 7 = 8",
    "5 = 6",
    "7 / 2 = 3",
    "10/3 = 3",
    "10/3 = 3.34",
    "2/3 = 0.66",
    "0.666 = 2/3",
    "1/3 = 34%",
    "1,000 × 3 = 3,001",
    "x = 5 + 3 = 9",
    "Let a = 2 * 3 = 7",
    "5 apples + 3 apples = 9 apples",
    "5 multiplied by 3 equals 16",
    "20% of 50 = 11",
    "\\frac{1}{2} + \\frac{1}{3} = \\frac{2}{5}",
    "Tom: 3 + 4 = 7; Ann: 2 + 2 = 5",
    "16 - 3 - 4 = 9 eggs * $2 = $18",
    "5+8 = <<5+8=14>>14",
    "1/0 = 1",
    "5 = 1 / (2 - 2)",
    "0^-1 = 0",
]
NOT_COUNTED = [
    "",
    "No numbers here.",
    "5 + 3",
    "= 8",
    "5 + 3 =",
    "5 + 3 = ?",
    "5 + = 8",
    "2 * (3 + 4 = 14",
    "x = 5",
    "x + 2 = 5",
    "2x = 10",
    "y = 2x + 1",
    "2 * pi = 6.28",
    "\\sqrt{16} = 4",
    "\\pi = 3.14",
    "\\frac{a}{b} = 3",
    "log(100) = 2",
    "5! = 120",
    "5 * price - 2 = 8",
    "cost = 5 + tax on 20 = 7",
    "17 mod 5 = 2",
    "2 groups of 3 = 6",
    "12 + 12 = 8 groups of 4",
    "1 hour = 60 minutes",
    "2 * 3 hours = 360 minutes",
    "5 * 12 inches = 5 feet",
    "22/7 ≈ 3.14",
    "22/7 \\approx 3.14",
    "5 != 6",
    "5 <= 6",
    "5 => 6",
    "12:30 = 12.5",
    "5:30 + 1:00 = 6:30",
    "version 1.2.3 = 4",
    "\\frac{8!}{4} = 10080",
    "\\frac{7}{30}@\\frac{10}{21} = 49",
    "\\frac{65}{117} \\times 18 = \\boxed{10} of the 18",
    "279/99999 = 0.\\overline{00279}",
    "\\frac{1}{3}Bh = \\frac{1}{3}(30)(6.5)",
    "b=7\\cdot 41$ and $a = 41",
    "(1+2)(1+5) equals the sum of the divisors of 500",
    "5 apples -3 apples = 3",
    "Drop 8 degrees = 2 - 8",
    "3 miles less than Reggie ran = 20 - 3",
    "2/5 is equal to 12.8 hectares",
    "(1-2)+(3-4)+ \\dots +(99-100) = 50(-1)",
    "\\begin{pmatrix} 3 \\\\ 2 \\end{pmatrix} = \\begin{pmatrix} 4 \\\\ 1 \\end{pmatrix}",
    "\\text{gcd}\\,(378,315) = 63",
    "1010_2 = 10",
    "9^9^9^9 = 3",
    "2^0.5 = 1.41",
    "9" * 200 + " + 1 = 5",
]


@pytest.mark.parametrize("text", HOLDS)
def test_holds(text):
    verdicts = check_equations(text)
    assert verdicts
    assert all(verdicts)


@pytest.mark.parametrize("text", FAILS)
def test_fails(text):
    assert False in check_equations(text)


@pytest.mark.parametrize("text", NOT_COUNTED)
def test_not_counted(text):
    assert check_equations(text) == []


def test_one_verdict_for_each_link_in_order():
    assert check_equations("1 + 1 = 2, 1 + 1 = 3 and 2 * 2 = 4 = 5 - 1") == [
        *(True, False),
        *(True, True),
    ]


async def test_reward_of_a_step_is_one_zero_or_neutral():
    steps = ["2 + 2 = 4\n\n", "2 + 2 = 4 but 3 + 3 = 7", "No equation.", "x = 3"]
    [reply] = await ArithmeticReward(0.25).score([request("2 + 2 = 5?", ["1 = 2"], steps)])
    assert reply == Scored((1.0, 0.0, 0.25, 0.25), Usage(calls=1))


@pytest.mark.parametrize("neutral", [-0.1, 1.1, float("nan")])
def test_neutral_is_checked(neutral):
    with pytest.raises(ValueError, match="neutral reward"):
        ArithmeticReward(neutral)


def shown(value: Fraction) -> str:
    return str(value) if value.denominator == 1 else f"{value.numerator}/{value.denominator}"


NUMBERS = st.one_of(
    st.integers(0, 9999).map(str),
    st.integers(1000, 10**9).map(lambda n: f"{n:,}"),
    st.tuples(st.integers(0, 999), st.integers(0, 99)).map(lambda t: f"{t[0]}.{t[1]:02}"),
)
FLAT = st.lists(st.tuples(st.sampled_from("+-*/"), NUMBERS), min_size=1, max_size=6)
LATEX = {"+": "+", "-": "-", "*": r"\times", "/": r"\div"}
WORDS = st.sampled_from(["", "So ", "In total there are ", "Therefore, ", "Tom has "])


def value_of(first: str, rest: list[tuple[str, str]]) -> Fraction:
    """What Python makes of it."""
    pieces = [("", first), *rest]
    code = "".join(f"{op}Fraction('{number.replace(',', '')}')" for op, number in pieces)
    try:
        return eval(code)
    except ZeroDivisionError:
        assume(False)
        raise


@settings(max_examples=150, deadline=None)
@given(first=NUMBERS, rest=FLAT, words=WORDS)
def test_agrees_with_exact_arithmetic(first, rest, words):
    value = value_of(first, rest)
    left = first + "".join(f" {op} {number}" for op, number in rest)
    assert check_equations(f"{words}{left} = {shown(value)} apples.") == [True]
    assert check_equations(f"{words}{left} = {shown(value + 1)} apples.") == [False]
    assert check_equations(f"{shown(value)} = {left}") == [True]


@settings(max_examples=80, deadline=None)
@given(first=NUMBERS, rest=FLAT)
def test_latex_and_plain_text_mean_the_same(first, rest):
    value = value_of(first, rest)
    left = first + "".join(f" {LATEX[op]} {number}" for op, number in rest)
    right = rf"\frac{{{value.numerator}}}{{{value.denominator}}}"
    assert check_equations(rf"\({left} = {right}\)") == [True]
    assert check_equations(rf"${left} = {right} + 1$") == [False]


@settings(max_examples=80, deadline=None)
@given(
    above=st.integers(0, 10**6),
    below=st.integers(1, 10**4),
    digits=st.integers(1, 6),
    off=st.integers(1, 50),
)
def test_decimals_on_the_right_are_rounded_and_no_more(above, below, digits, off):
    exact = Fraction(above, below)
    rounded = round(exact * 10**digits)
    number = Fraction(rounded, 10**digits)
    text = f"{rounded // 10**digits}.{rounded % 10**digits:0{digits}}"
    assert check_equations(f"{above} / {below} = {text}") == [True]
    wrong = number + Fraction(off + 1, 10**digits)
    text = f"{int(wrong)}.{int(wrong * 10**digits) % 10**digits:0{digits}}"
    assert check_equations(f"{above} / {below} = {text}") == [False]


PARTS = st.sampled_from(
    [
        *"0123456789+-*/^=()[]{}%$.,:;!?<>|~_& \n\\xyaé",
        *(" = ", " + ", "12", "3.5", "apples ", "of ", "x ", " times ", "**", "...", "ки"),
        *("\\frac{", "\\frac", "\\text{", "\\times ", "\\left(", "\\\\", "}{", "^{2}", "1/2 "),
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(PARTS, max_size=60).map("".join) | st.text(max_size=80))
def test_any_text_has_a_reward(text):
    assert ArithmeticReward(0.5).reward(text) in (0.0, 0.5, 1.0)


def test_of_a_very_long_step_whole_lines_are_read():
    text = "1 + 1 = 2\n" + "word " * 1_500 + "\n" + "1 + 2 = 3 " * 2_000
    assert check_equations(text) == [True]


@pytest.mark.parametrize(
    "text",
    [
        "1+" * 50_000 + "1 = 2",
        "(" * 50_000 + "1" + ")" * 50_000 + " = 1",
        "2^" * 50_000 + "2 = 4",
        "-" * 50_000 + "1 = 1",
        "<" * 50_000,
        "=" * 50_000,
        "= 1 " * 20_000,
        "1,1" * 20_000 + " = 2",
        "1." * 30_000,
        "\\frac{1}{" * 10_000 + "1" + "}" * 10_000 + " = 1",
        "a-" * 30_000,
        "()" * 30_000 + " = 1",
        "1 (b " * 15_000,
        "9" * 100_000 + " + 1 = 2",
        " " * 100_000 + "\n" * 100_000,
        "99^999 = 99^999 = " * 1_000,
        "1 1/2,,," * 5_000,
        "*" * 50_000,
        "5^(5^(5^(5^5))) = 1",
        "10^1000000000000 = 1",
        "1:1:" * 20_000,
    ],
    ids=lambda text: text[:12],
)
def test_hostile_text_is_cheap(text):
    started = time.perf_counter()
    ArithmeticReward().reward(text)
    assert time.perf_counter() - started < 1.0
