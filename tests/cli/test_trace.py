from __future__ import annotations

from dataclasses import replace

import pytest

from rsdecode.cli.trace import (
    PlainTrace,
    answer_line,
    cost_line,
    printable,
    rejected_label,
    share_of_target,
    step_label,
)
from rsdecode.core.cost import ModelShape
from rsdecode.core.types import (
    FinishReason,
    Ledger,
    Problem,
    Proposal,
    Role,
    Segment,
    Step,
    Tokens,
    Trajectory,
    Usage,
)

SHAPES = {Role.DRAFT: ModelShape(10), Role.TARGET: ModelShape(100), Role.REWARD: ModelShape(5)}


def step(source: Role, text: str, count: int, vocabulary: str = "v", **more: object) -> Step:
    segment = Segment(text, Tokens(vocabulary, tuple(range(count))))
    made = Step(segment, source, FinishReason.STOP, accepted=source is Role.DRAFT)
    return replace(made, token_count=count, **more)  # type: ignore[arg-type]


DRAFTED = step(Role.DRAFT, "a\n\n", 30, reward=0.9, weight=1.0)
WRITTEN = step(Role.TARGET, "\\boxed{1}", 20)
LEDGER = Ledger(
    Usage(decoded_tokens=40, calls=2),
    Usage(decoded_tokens=20, calls=1),
    Usage(prefill_tokens=60, calls=2),
)
SOLVED = Trajectory(Problem.ask("q"), (DRAFTED, WRITTEN), FinishReason.EOS, LEDGER, seconds=1.25)


def test_the_cost_line_adds_up() -> None:
    # paper's rule: 2 * (10 * 40 + 100 * 20 + 5 * 60) = 5400; alone: 2 * 100 * 50 = 10000
    line = cost_line(SOLVED, SHAPES)
    assert line.startswith("tokens: draft 40, target 20, reward 60 · accepted 50% of 2 steps · ")
    assert "FLOPs 5.4e+03 paper = 0.54x the target writing as many tokens" in line
    assert line.endswith("exact · 1.2 s")


@pytest.mark.parametrize(
    "steps",
    [
        (DRAFTED,),  # the target's own tokens are not known
        (WRITTEN,),  # nothing to compare
        (DRAFTED, step(Role.TARGET, "b", 20, vocabulary="other")),
        (DRAFTED, replace(WRITTEN, segment=Segment("b"))),
    ],
)
def test_no_share_where_it_would_be_a_guess(steps: tuple[Step, ...]) -> None:
    assert share_of_target(replace(SOLVED, steps=steps), SHAPES) is None


def test_unknown_sizes_give_no_flops() -> None:
    assert "FLOPs" not in cost_line(SOLVED, {})


@pytest.mark.parametrize("reason", [r for r in FinishReason if r is not FinishReason.EOS])
def test_only_a_finished_answer_is_an_answer(reason: FinishReason) -> None:
    line = answer_line(replace(SOLVED, stop_reason=reason))
    assert line.startswith(f"no answer: {reason}")
    assert answer_line(SOLVED) == "answer: 1"


def test_a_finished_text_without_an_answer() -> None:
    nothing = replace(SOLVED, steps=(step(Role.DRAFT, "I do not know", 3),))
    assert answer_line(nothing) == "answer: none found in the text"


def test_labels() -> None:
    assert step_label(DRAFTED) == "draft 0.90"
    assert step_label(replace(DRAFTED, weight=0.25)) == "draft 0.90 w 0.25"
    assert step_label(WRITTEN) == "target"
    assert rejected_label(Proposal("x", 0.126, FinishReason.STOP)) == "draft 0.13"
    assert rejected_label(Proposal("x", None, FinishReason.STEP_LIMIT)) == "draft cut"
    assert rejected_label(Proposal("", None, FinishReason.EOS)) == "draft empty"


def test_a_model_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    nasty = "\x1b[2J\x1b]0;title\x07a\r\x9b1mb\tc\n\n"
    assert printable(nasty) == "�[2J�]0;title�a��1mb\tc"
    PlainTrace().step(step(Role.DRAFT, nasty, 3))
    assert "\x1b" not in capsys.readouterr().out


def test_lines_of_a_step_stay_together(capsys: pytest.CaptureFixture[str]) -> None:
    PlainTrace().step(step(Role.TARGET, "one\n\ttwo\n\n", 3))
    assert capsys.readouterr().out == "  target        | one\n                | \ttwo\n"
