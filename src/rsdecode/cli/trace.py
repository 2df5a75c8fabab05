"""Shows a trajectory to a person: steps as they are decided, then the answer and what it cost."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

from rsdecode.core.answer import extract_answer
from rsdecode.core.cost import ModelShape, flops
from rsdecode.core.counted import counted
from rsdecode.core.thoughts import THOUGHTS, Thoughts
from rsdecode.core.types import FinishReason, Ledger, Proposal, Role, Step, Trajectory

Shapes = Mapping[Role, ModelShape | None]

STOPPED = {
    FinishReason.LENGTH: "the answer reached the token limit or the end of the context",
    FinishReason.MAX_STEPS: "the answer reached the limit of steps",
    FinishReason.REPEATED: "the answer repeats itself",
    FinishReason.CANCELLED: "cancelled",
    FinishReason.ERROR: "a request failed",
}
STYLES = {Role.DRAFT: "green", Role.TARGET: "magenta", Role.REWARD: "yellow"}
_MARGIN = 15


class Trace(Protocol):
    """A place to show a trajectory."""

    def step(self, step: Step) -> None:
        """A step has entered the answer."""
        ...

    def end(self, trajectory: Trajectory, shapes: Shapes) -> None:
        """The answer has ended."""
        ...


def open_trace(thoughts: Thoughts = THOUGHTS) -> Trace:
    """Colours on a terminal, plain text elsewhere; the answer is what follows the thoughts."""
    return TerminalTrace(thoughts) if sys.stdout.isatty() else PlainTrace(thoughts)


class PlainTrace:
    """Text without escape codes: who wrote it and its reward in the margin, rejected drafts first.

    Rejected drafts have a "-" before their margin; the margin of thoughts is in parentheses.
    """

    def __init__(self, thoughts: Thoughts = THOUGHTS) -> None:
        self._thoughts = thoughts

    def step(self, step: Step) -> None:
        """Print the step and what it replaced."""
        for draft in step.rejected:
            _print_beside(f"- {rejected_label(draft)}", draft.text)
        _print_beside(f"  {step_label(step)}", step.text)

    def end(self, trajectory: Trajectory, shapes: Shapes) -> None:
        """Print the answer and the cost line."""
        print(
            f"\n{answer_line(trajectory, self._thoughts)}\n{cost_line(trajectory, shapes)}",
            flush=True,
        )


class TerminalTrace:
    """The text in the colour of its writer, reward and weight at the side."""

    def __init__(self, thoughts: Thoughts = THOUGHTS) -> None:
        from rich.console import Console

        self._thoughts = thoughts
        self._console = Console(highlight=False)

    def step(self, step: Step) -> None:
        """Print the step; above it, struck through, what it replaced."""
        from rich.table import Table
        from rich.text import Text

        grid = Table.grid(padding=(0, 2), expand=True)
        grid.add_column(ratio=1, overflow="fold")
        grid.add_column(justify="right", no_wrap=True)
        for draft in step.rejected:
            label = Text(rejected_label(draft), style="dim")
            grid.add_row(Text(printable(draft.text), style="dim strike"), label)
        style = STYLES[step.source] + (" italic dim" if step.thought else "")
        grid.add_row(Text(printable(step.text), style=style), Text(step_label(step), style=style))
        self._console.print(grid, "")

    def end(self, trajectory: Trajectory, shapes: Shapes) -> None:
        """Print the answer and the cost line."""
        from rich.text import Text

        style = "bold" if trajectory.finished else "bold red"
        self._console.print(Text(answer_line(trajectory, self._thoughts), style=style))
        self._console.print(Text(cost_line(trajectory, shapes), style="dim"))


def step_label(step: Step) -> str:
    """`draft 0.91`, with the weight where it was a matter of chance; of a thought, that it is."""
    if step.closes_thoughts:
        return f"({step.finish_reason})"
    return f"({_writer(step)})" if step.thought else _writer(step)


def _writer(step: Step) -> str:
    if not step.accepted or step.reward is None:
        return step.source.value
    chance = step.weight is not None and 0.0 < step.weight < 1.0
    return f"{step.source} {step.reward:.2f}" + (f" w {step.weight:.2f}" if chance else "")


def rejected_label(draft: Proposal) -> str:
    """`draft 0.12`; a draft that was not scored says why: cut at its limit, or nothing in it."""
    if draft.reward is not None:
        return f"draft {draft.reward:.2f}"
    cut = draft.finish_reason in (FinishReason.STEP_LIMIT, FinishReason.LENGTH)
    return "draft cut" if cut else "draft empty"


def answer_line(trajectory: Trajectory, thoughts: Thoughts = THOUGHTS) -> str:
    """The answer, or why there is none."""
    if trajectory.finished:
        marks = replace(thoughts, opened=trajectory.thoughts.opened)
        found = extract_answer(trajectory.text, marks)
        return "answer: " + (printable(found) if found else "none found in the text")
    why = trajectory.error or STOPPED.get(trajectory.stop_reason, "")
    return f"no answer: {trajectory.stop_reason}: {printable(why)}"


def cost_line(trajectory: Trajectory, shapes: Shapes) -> str:
    """Tokens by model, acceptance, FLOPs by both counts and seconds."""
    parts = [tokens_by_model(trajectory.ledger)]
    rate = trajectory.acceptance_rate
    if thoughts := sum(step.token_count for step in trajectory.steps if step.thought):
        parts.append(f"thoughts {counted(thoughts, 'token')}")
    if rate is not None and trajectory.ledger.reward.calls:
        parts.append(f"accepted {rate:.0%} of {counted(len(trajectory.decided), 'step')}")
    cost = flops(trajectory.ledger, shapes)
    if cost.paper is not None and cost.exact is not None:
        share = share_of_target(trajectory, shapes)
        relative = f" = {share:.2f}x the target writing as many tokens" if share else ""
        parts.append(f"FLOPs {cost.paper:.3g} paper{relative}, {cost.exact:.3g} exact")
    parts.append(f"{trajectory.seconds:.1f} s")
    return " · ".join(parts)


def tokens_by_model(ledger: Ledger) -> str:
    """Tokens written by draft and target, tokens read by the reward model."""
    used = {Role.DRAFT: ledger.draft.decoded_tokens, Role.TARGET: ledger.target.decoded_tokens}
    used[Role.REWARD] = ledger.reward.prefill_tokens + ledger.reward.decoded_tokens
    texts = [f"{role} {count:,}" for role, count in used.items() if ledger.of(role).calls]
    return "tokens: " + (", ".join(texts) or "none")


def share_of_target(trajectory: Trajectory, shapes: Shapes) -> float | None:
    """FLOPs (paper's rule) over those of the target writing an answer of this length.

    Only where the length is known in the target's own tokens: the target wrote a step, and all
    steps are in its vocabulary.
    """
    shape = shapes.get(Role.TARGET)
    cost = flops(trajectory.ledger, shapes).paper
    tokens = [step.segment.tokens for step in trajectory.steps]
    vocabularies = {t.vocabulary if t is not None else None for t in tokens}
    mixed = {step.source for step in trajectory.steps} == {Role.DRAFT, Role.TARGET}
    if shape is None or cost is None or not mixed or len(vocabularies) != 1 or None in vocabularies:
        return None
    length = sum(step.token_count for step in trajectory.steps)
    return cost / (2.0 * shape.parameters * length) if length else None


def printable(text: str) -> str:
    """The text without what could steer a terminal, and without the separator at its end."""
    kept = (c if c in "\n\t" or unicodedata.category(c) != "Cc" else "\N{REPLACEMENT CHARACTER}"
            for c in text.strip("\n"))  # fmt: skip
    return "".join(kept)


def _print_beside(margin: str, text: str) -> None:
    lines = printable(text).split("\n")
    margins = [margin, *[""] * (len(lines) - 1)]
    for beside, line in zip(margins, lines, strict=True):
        print(f"{beside:{_MARGIN}} | {line}".rstrip())
    sys.stdout.flush()
