from __future__ import annotations

from typing import Any

import pytest

from rsdecode.core.answer import extract_answer
from rsdecode.core.requests import Generated, Sampling
from rsdecode.core.thoughts import THOUGHTS, Thoughts
from rsdecode.core.types import FinishReason, Problem, Segment, Trajectory, Usage
from rsdecode.evals.grading import grade
from rsdecode.methods import Majority


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("no thoughts", "no thoughts"),
        ("<think>a</think>b", "b"),
        ("a</think>b", "b"),
        ("<think>a</think>b<think>c</think>d", "d"),
        ("<think>a", None),
        ("<think>a</think>b<think>c", None),
        ("[THINK]a[/THINK]b", "b"),
        ("[THINK]a", None),
        (
            "<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>b<|return|>",
            "b",
        ),
        ("<|channel|>analysis<|message|>a", None),
        ("analysisWe think.assistantfinalb", "b"),
        ("analysisWe think.", None),
        ("analysis of variance", "analysis of variance"),
        ("<|channel|>commentary<|message|>a<|end|>", None),
        ("<|channel|>final<|message|>b<|return|>", "b"),
        ("<reasoning>a</reasoning>b", "b"),
        ("<thought>a</thought>b<end_of_turn>", "b"),
        ("<thought>a", None),
        ("◁think▷a◁/think▷b", "b"),
        ("<|begin_of_thought|>a<|end_of_thought|><|begin_of_solution|>b<|end_of_solution|>", "b"),
        ("<|START_THINKING|>a", None),
        ("b</s>", "b"),
    ],
)
def test_the_part_after_the_thoughts(text: str, part: str | None) -> None:
    assert THOUGHTS.answer_part(text) == part


def test_marks_are_a_setting() -> None:
    mine = Thoughts((("<reason>", "</reason>"),))
    text = r"<reason>\boxed{1}</reason> \boxed{2} <think>"
    assert extract_answer(text, mine) == "2"
    assert extract_answer(text) is None
    assert extract_answer(r"<think>\boxed{1}", Thoughts(())) == "1"
    assert grade(text, "2", thoughts=mine).correct


def test_long_thoughts_do_not_hide_that_they_never_close() -> None:
    assert extract_answer("<think>" + "x" * 100_000 + r"\boxed{7}") is None


def test_votes_are_the_answers_after_the_thoughts() -> None:
    texts = [
        r"<think>\boxed{1}</think> \boxed{2}",
        r"<think>\boxed{1}</think> \boxed{2}",
        r"\boxed{1}",
    ]
    method = Majority(3, sampling=Sampling(temperature=1.0))
    decoding = method(Problem.ask("?"))
    next(decoding)
    replies = [Generated(Segment(text), FinishReason.EOS, Usage(calls=1)) for text in texts]
    trajectory = ended(decoding, replies)
    assert trajectory.text == texts[0]
    assert sorted(other.votes or 0 for other in trajectory.alternatives) == [1, 2]


def ended(decoding: Any, replies: list[Generated]) -> Trajectory:
    """What a method ends with that asks once."""
    try:
        decoding.send(replies)
        while True:
            decoding.send(None)
    except StopIteration as end:
        return end.value
