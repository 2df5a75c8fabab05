"""How thoughts are written: by whom, up to where, whether they are judged, and how they end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from rsdecode.core.requests import Begun
from rsdecode.core.segment import WHOLE_ANSWER, Boundary
from rsdecode.core.thought_steps import UNTIL_CLOSED, ThoughtRule, thinking_boundary
from rsdecode.core.thoughts import HARMONY_FINAL, THOUGHTS, Thoughts, default_closing
from rsdecode.core.types import FinishReason, Role, Segment, Step

RECENT = 4
"""Among so many times `repeats` steps a repeated one is looked for."""


@dataclass(frozen=True, slots=True)
class Thinking:
    """What a method does with thoughts. It decides nothing about the steps of the answer.

    Attributes:
        marks: of thoughts.
        off: thoughts are not wanted: those that the prompt opens are closed at once.
        budget: tokens of thoughts, after which they are closed; None for no limit.
        rule: where a step of thoughts ends.
        judged: whether the reward decides on steps of thoughts as it does on those of the answer.
        alone: whether it reads the steps of the answer without the thoughts, as most reward models
            have been trained.
        threshold: of RSD for steps of thoughts, whose judge may have a scale of its own; None for
            the weighting of the answer's steps.
        writer: who writes them where it does not; methods without a target have the draft.
        first_steps: so many steps of a trajectory are written by the target, unjudged.
        effort_budget: tokens of thoughts where an effort is wanted and a model's template has no
            switch for it; None for no such limit.
        repeats: times that a step is written until thoughts, or the answer after them, are ended.
        opened: whether the prompt opens the thoughts, where the models do not know.
    """

    marks: Thoughts = THOUGHTS
    off: bool = False
    budget: int | None = None
    effort_budget: int | None = None
    rule: ThoughtRule = field(default_factory=ThoughtRule)
    judged: bool = True
    alone: bool = False
    threshold: float | None = None
    writer: Role = Role.DRAFT
    first_steps: int = 0
    repeats: int = 3
    opened: bool | None = None

    def limit(self, start: Start) -> int | None:
        """Tokens of thoughts; None for no limit."""
        if self.off:
            return 0
        limits = (self.budget, None if start.takes_effort else self.effort_budget)
        return min((limit for limit in limits if limit is not None), default=None)

    def started(self, begun: Mapping[Role, Begun]) -> Start:
        """What is known before the first step, from how the models' replies begin."""
        openings = {role: self._opening(known) for role, known in begun.items()}
        opening = next((mark for mark in openings.values() if mark), "")
        lacking = frozenset(role for role, mark in openings.items() if opening and not mark)
        closing = next((known.closing for known in begun.values() if known.closing), "")
        return Start(
            opening=opening,
            lacking=lacking,
            thinks=any(known.thinks for known in begun.values()),
            closing=closing,
            continues=all(known.continues for known in begun.values()),
            takes_effort=bool(begun) and all(known.takes_effort for known in begun.values()),
        )

    def _opening(self, known: Begun) -> str:
        if known.opened is not None:
            return known.opened
        return self.marks.marks[0][0] if self.opened and self.marks.marks else ""


@dataclass(frozen=True, slots=True)
class Start:
    """How the replies of a method's models begin.

    Attributes:
        opening: the mark by which a prompt opens the thoughts; empty if none does.
        lacking: the roles whose prompts do not, although another's does.
        thinks: whether thoughts are expected.
        closing: what ends thoughts; empty where no model knows.
        continues: whether all models can continue an answer.
        takes_effort: whether the templates of all have a switch for how much is to be thought.
    """

    opening: str = ""
    lacking: frozenset[Role] = frozenset()
    thinks: bool = False
    closing: str = ""
    continues: bool = True
    takes_effort: bool = False


class Part(NamedTuple):
    """A step of a whole answer that is cut afterwards.

    Attributes:
        text: of the step.
        thought: whether it is one of thoughts.
    """

    text: str
    thought: bool = False


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a trajectory stands: within its thoughts, before them, or after them.

    Args:
        thinking: the policy.
        start: how the replies begin.
        steps: what has been decided so far.
    """

    thinking: Thinking
    start: Start
    steps: Sequence[Step]

    @property
    def inside(self) -> bool:
        """Whether the next step is one of thoughts."""
        if self.undecided:
            return bool(self.start.opening)
        last = [step.text for step in self.steps[-3:] if step.thought]
        return self.steps[-1].thought and not self.marks.closed_in("".join(last))

    @property
    def undecided(self) -> bool:
        """Whether nothing has been written that tells thoughts from an answer."""
        return all(not step.text.strip() for step in self.steps)

    @property
    def marks(self) -> Thoughts:
        """The marks in use, as far as they are known."""
        marks = self.thinking.marks
        opening = self.start.opening
        if not opening and self.steps:
            opening = marks.opening_of("".join(step.text for step in self.steps[:2])) or ""
        if opening:
            found = tuple(pair for pair in marks.marks if pair[0] == opening)
        else:
            found = tuple(pair for pair in marks.marks if pair[1] in self.start.closing)
        return replace(marks, marks=found or marks.marks, opened=bool(self.start.opening))

    @property
    def found(self) -> Thoughts:
        """All marks, and whether the prompt has opened the thoughts."""
        return replace(self.thinking.marks, opened=bool(self.start.opening))

    def is_thought(self, text: str) -> bool:
        """Whether a text, as the next step, is one of thoughts."""
        if self.inside:
            return True
        return self.undecided and self.thinking.marks.opening_of(text) is not None

    @property
    def left(self) -> int | None:
        """Tokens of the budget that are left; None without a limit."""
        budget = self.thinking.limit(self.start)
        if budget is None:
            return None
        return budget - sum(step.token_count for step in self.steps if step.thought)

    def room(self, tokens: int) -> int:
        """Tokens that the next step may have, of so many that it could have."""
        left, expected = self.left, self.inside or (self.undecided and self.start.thinks)
        return min(tokens, left) if left is not None and left > 0 and expected else tokens

    def boundary(self, outside: Boundary, *, whole: bool = False) -> Boundary:
        """Where the next step ends.

        Args:
            outside: the rule of answers.
            whole: all thoughts are one step.
        """
        inside = self.inside
        if not inside and not self.undecided:
            return outside
        rule = UNTIL_CLOSED if whole else self.thinking.rule
        marks, every = self.marks, self.thinking.marks
        if not inside:
            marks = replace(marks, marks=tuple(dict.fromkeys((*marks.marks, *every.marks))))
        return thinking_boundary(marks, rule, outside, inside=inside)

    def parts(self, text: str, outside: Boundary) -> list[Part]:
        """The steps of a whole answer: those of its thoughts, if it has any, and the others."""
        length = 0
        if self.is_thought(text):
            reader = self.boundary(WHOLE_ANSWER, whole=True).reader()
            length = reader.add(text) or len(text)
        within = thinking_boundary(self.marks, self.thinking.rule, outside, inside=True)
        parts: list[Part] = []
        rest = text[:length]
        while rest:
            end = within.end(rest) or len(rest)
            parts.append(Part(rest[:end], thought=True))
            rest = rest[end:]
        return [*parts, *map(Part, outside.split(text[length:]))]

    @property
    def writer(self) -> Role | None:
        """Who writes the next step without being judged; None if the reward decides."""
        thinking = self.thinking
        if len(self.steps) < thinking.first_steps:
            return Role.TARGET
        if thinking.judged or not (self.inside or (self.undecided and self.start.thinks)):
            return None
        return thinking.writer

    def closing_step(self) -> Step | None:
        """The step that ends the thoughts, if they are to end now."""
        off = self.thinking.off and not self.steps and self.start.thinks
        if off and HARMONY_FINAL in self.start.closing and not self.inside:
            return self._closing(HARMONY_FINAL, FinishReason.BUDGET)
        if not self.inside:
            return None
        if self.left is not None and self.left <= 0:
            return self._closing(self.closing_text, FinishReason.BUDGET)
        if self.repeated:
            return self._closing(self.closing_text, FinishReason.REPEATED)
        return None

    def _closing(self, text: str, reason: FinishReason) -> Step:
        source = self.steps[-1].source if self.steps else self.thinking.writer
        return Step(Segment(text), source, reason, thought=True)

    @property
    def closing_text(self) -> str:
        """What ends the thoughts as they stand: no line break is put behind one."""
        mark = self.marks.closings()[0]
        known = self.start.closing
        text = known if mark in known else default_closing(mark)
        before = "".join(step.text for step in self.steps[-2:])
        return text.lstrip("\n") if before.endswith("\n") and before.strip() else text

    @property
    def repeated(self) -> bool:
        """Whether the last step has been written too often, in thoughts or in the answer."""
        repeats = self.thinking.repeats
        if not repeats or not any(step.thought for step in self.steps):
            return False
        thought = self.steps[-1].thought
        recent = [_plain(s.text) for s in self.steps[-RECENT * repeats :] if s.thought is thought]
        return bool(recent[-1]) and recent.count(recent[-1]) >= repeats


def _plain(text: str) -> str:
    return " ".join(text.split())
