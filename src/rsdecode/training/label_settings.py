"""What `rsd prm label` is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from rsdecode.core.errors import ConfigError
from rsdecode.core.limits import Limits
from rsdecode.core.segment import PARAGRAPH, Boundary
from rsdecode.core.types import Role
from rsdecode.results.stats import wilson

SAMPLES = 2
"""Whole solutions of each writer, where nothing else is said."""
LAYOUT = 2
"""Of the records in the store; a change of what labels mean raises it."""


class LabelMethod(StrEnum):
    """How a step is found to be right or wrong."""

    ROLLOUTS = "rollouts"
    """By the share of completions from there that end with the right answer."""
    BISECT = "bisect"
    """The same, but only where a binary search for the first wrong step looks."""
    OUTCOME = "outcome"
    """By the whole answer: every step of it is as right as it is."""
    CHECKER = "checker"
    """By what checks a step: a function of one's own, or arithmetic."""
    REWARD = "reward"
    """By another reward, whose numbers are the labels: a gate, a large reward model, a judge."""


@dataclass(frozen=True, slots=True)
class LabelSettings:
    """Everything that decides the labels of a problem's solutions, beside its models.

    Attributes:
        method: how steps are labelled.
        writers: whose solutions.
        samples: whole solutions of each writer.
        continued: further ones of each writer, from a random right beginning of those.
        temperatures: of the writers' solutions, in turn.
        completer: who writes the completions of rollouts.
        completions: from one step, at most.
        every: write all of them, also where fewer tell enough.
        share: a step is right where more than this share of its completions end right.
        completion_temperature: of the completer.
        boundary: where a step ends.
        selected: names the solutions that are labelled in place of new ones (see `selection`).
        layout: of the records.

    Raises:
        ConfigError: a number is out of range.
    """

    method: LabelMethod = LabelMethod.ROLLOUTS
    writers: tuple[Role, ...] = (Role.DRAFT,)
    samples: int = SAMPLES
    continued: int = 2
    temperatures: tuple[float, ...] = (0.7, 1.0)
    completer: Role = Role.TARGET
    completions: int = 8
    every: bool = False
    share: float = 0.1
    completion_temperature: float = 0.7
    boundary: Boundary = PARAGRAPH
    limits: Limits = Limits()
    selected: str = ""
    layout: int = LAYOUT

    def __post_init__(self) -> None:
        if not self.writers or Role.REWARD in self.writers:
            raise ConfigError("--writers must be draft, target or draft,target")
        if self.samples < 1:
            raise ConfigError(f"--samples {self.samples} must be at least 1")
        if self.completions < 1:
            raise ConfigError(f"--completions {self.completions} must be at least 1")
        if not 0 <= self.share < 1:
            raise ConfigError(f"--right-share {self.share:g} must be in [0, 1)")
        several = len(self.temperatures) < self.samples or len(set(self.temperatures)) < len(
            self.temperatures
        )
        if not self.temperatures or min(self.temperatures) < 0:
            raise ConfigError("--temperatures must be numbers of at least 0")
        if several and 0.0 in self.temperatures and self.samples > 1:
            raise ConfigError(
                "--temperatures: greedy solutions of one problem are all the same; name 0 once and "
                "as many temperatures as --samples"
            )
        if self.searches and self.completions > 1 and self.completion_temperature == 0:
            raise ConfigError(
                "--rollout-temperature 0: greedy completions are all the same; give it a number "
                "above 0, or --completions 1"
            )

    @property
    def searches(self) -> bool:
        """Whether completions are written to find the wrong steps."""
        return self.method in (LabelMethod.ROLLOUTS, LabelMethod.BISECT)

    @property
    def asks_reward(self) -> bool:
        """Whether a reward says which steps are right."""
        return self.method in (LabelMethod.CHECKER, LabelMethod.REWARD)

    @property
    def needs_answers(self) -> bool:
        """Whether a problem must have an answer."""
        return not self.asks_reward

    @property
    def roles(self) -> frozenset[Role]:
        """The models that are needed."""
        completer = {self.completer} if self.searches else set[Role]()
        judge = {Role.REWARD} if self.asks_reward else set[Role]()
        writers = set[Role]() if self.selected else self.writers
        return frozenset({*writers, *completer, *judge})

    @property
    def solutions(self) -> int:
        """Solutions of one problem, at most."""
        return len(self.writers) * (self.samples + self.continued)

    def waves(self) -> list[int]:
        """How many completions are asked for at a time: 1, 1, 2, 4, ... until all are there."""
        if self.every:
            return [self.completions]
        waves, done = list[int](), 0
        while done < self.completions:
            waves.append(min(max(1, done), self.completions - done))
            done += waves[-1]
        return waves

    def verdict(self, right: int, total: int) -> bool | None:
        """Whether a step is right by its completions so far; None while more may tell better.

        It is clear once the 95 % interval of the share (Wilson) is on one side of `share`.
        """
        if not total:
            return None
        _, low, high = wilson(right, total)
        if not self.every and (low > self.share or high < self.share):
            return low > self.share
        return right > self.share * total if total >= self.completions else None
