"""Laws of the checker: it accepts true steps, however worded, and nothing else."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rsdecode.models.abacus import boxed, first_error, is_solved, problems, step_is_right, working
from rsdecode.models.abacus.checker import equations, equations_hold, evaluate

numbers = st.integers(0, 99_999)
operators = st.sampled_from("+-*/")
PROBLEMS = problems("train", limit=60)


@given(numbers, st.lists(st.tuples(operators, numbers), max_size=5))
def test_evaluation_agrees_with_exact_arithmetic(first: int, rest: list[tuple[str, int]]) -> None:
    assume(all(number or operator != "/" for operator, number in rest))
    text = str(first) + "".join(f" {operator} {number}" for operator, number in rest)
    code = f"Fraction({first})" + "".join(f" {o} Fraction({n})" for o, n in rest)
    assert evaluate(text) == eval(code, {"Fraction": Fraction})


def test_division_by_zero_is_not_a_value() -> None:
    assert evaluate("4 / 0") is None
    assert not equations_hold("so 4 / 0 = 4")


@given(st.integers(1, 9999), st.integers(1, 9999), st.integers(2, 99))
def test_written_working_is_true_link_by_link(a: int, b: int, k: int) -> None:
    chains = [
        (working.add(a, b), a + b),
        (working.subtract(a + b, b), a),
        (working.multiply(a, k), a * k),
        (working.divide(a * k, k), a),
    ]
    for chain, result in chains:
        values = [evaluate(link) for link in chain.split(" = ")]
        assert len(values) >= 2
        assert set(values) == {Fraction(result)}
        assert equations(chain) == [chain.split(" = ")]
        assert all(x != y for x, y in pairwise(chain.split(" = ")))


def test_dividing_what_does_not_divide_is_an_error() -> None:
    with pytest.raises(ValueError, match="7 is not a multiple of 2"):
        working.divide(7, 2)


@given(st.sampled_from(PROBLEMS), st.data())
@settings(deadline=None)
def test_one_changed_digit_in_an_equation_is_found_where_it_stands(problem, data) -> None:
    index = data.draw(st.integers(0, len(problem.values) - 1))
    step = problem.steps[index]
    chain = " = ".join(equations(step)[0])
    start = step.index(chain)
    places = [i for i in range(start, start + len(chain)) if step[i].isdigit()]
    place = data.draw(st.sampled_from(places))
    digit = data.draw(st.sampled_from([d for d in "0123456789" if d != step[place]]))
    wrong = step[:place] + digit + step[place + 1 :]
    assume(all(not part.startswith("0") or part == "0" for part in wrong.split()))
    assume(not _all_values_equal(wrong))
    steps = [*problem.steps[:index], wrong, *problem.steps[index + 1 :]]
    assert first_error(problem, steps) == index


def _all_values_equal(step: str) -> bool:
    """``0 * 5`` and the like: a digit can change without making the equation false."""
    return all(len({evaluate(link) for link in chain}) == 1 for chain in equations(step))


@given(st.sampled_from(PROBLEMS), st.text(alphabet="abcdefghij ,", max_size=20))
@settings(deadline=None)
def test_the_wording_does_not_matter(problem, words: str) -> None:
    steps = [f"{words} {step}" for step in problem.steps]
    assert first_error(problem, steps) is None


@given(st.sampled_from(PROBLEMS), st.integers(1, 500))
@settings(deadline=None)
def test_a_true_equation_with_the_wrong_value_is_wrong(problem, shift: int) -> None:
    value = problem.values[0]
    assert not step_is_right(problem, 0, f"so {value} + {shift} = {value + shift}")
    assert step_is_right(problem, 0, f"so {value + shift} - {shift} = {value}")


@pytest.mark.parametrize(
    "step",
    ["", "I do not know.", "It is 12.", "3 + 4 = 8", "3 + 4 = 7 = 8", "2 * 3 = 6, so 6 + 1 = 8"],
)
def test_steps_without_a_true_equation_are_wrong(step: str) -> None:
    assert not step_is_right(PROBLEMS[0], 0, step)


def test_answering_early_late_or_not_at_all() -> None:
    problem = next(p for p in PROBLEMS if len(p.values) == 3)
    answer = problem.steps[-1]
    assert first_error(problem, [answer]) == 0
    assert first_error(problem, problem.steps[:2]) is None
    assert first_error(problem, [*problem.steps, answer]) == len(problem.steps)
    assert first_error(problem, [*problem.steps[:3], "The answer is \\boxed{-1}."]) == 3
    assert first_error(problem, []) is None


def test_two_equations_in_one_step_are_both_checked() -> None:
    assert equations("It is 20 * 3 = 60, so 75 + 60 = 135 pens.") == [
        ["20 * 3", "60"],
        ["75 + 60", "135"],
    ]
    assert equations_hold("It is 20 * 3 = 60, so 75 + 60 = 135 pens.")
    assert not equations_hold("It is 20 * 3 = 61, so 75 + 60 = 135 pens.")


def test_boxes() -> None:
    assert boxed("no box") is None
    assert boxed("\\boxed{1} then \\boxed{ 22 }.") == "22"
    assert is_solved(PROBLEMS[0], PROBLEMS[0].steps[-1])
    assert not is_solved(PROBLEMS[0], "The answer is \\boxed{}.")
