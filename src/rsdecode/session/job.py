"""What a session is asked to solve."""

from __future__ import annotations

from dataclasses import dataclass

from rsdecode.core.requests import Decoding, session_of
from rsdecode.core.types import Problem
from rsdecode.methods import Method

SampleKey = tuple[str, int]
"""Problem id and sample."""


@dataclass(frozen=True, slots=True)
class Job:
    """One sample of one problem, by one method.

    Attributes:
        problem: what is to be solved.
        method: how.
        seed: with the problem's id and the sample it determines every random draw.
        sample: which of several answers to the problem.
        deadline_s: seconds from submission after which the problem ends with `cancelled`, keeping
            its steps; None for no deadline.
        priority: of jobs that wait, those with the lowest number start first.
        told: have each step say how likely its tokens were (see `core.requests.Generate`).

    Raises:
        ValueError: the deadline is not a positive number.
    """

    problem: Problem
    method: Method
    seed: int = 0
    sample: int = 0
    deadline_s: float | None = None
    priority: int = 0
    told: int | None = None

    def __post_init__(self) -> None:
        if self.deadline_s is not None and not self.deadline_s > 0:
            raise ValueError(f"deadline_s {self.deadline_s!r} must be a positive number of seconds")

    @property
    def key(self) -> SampleKey:
        """Tells the samples of a run apart."""
        return self.problem.id, self.sample

    @property
    def cache_session(self) -> str:
        """Names the growing prefix that all its requests share (`Generate.session`)."""
        return session_of(self.problem, self.sample)

    def start(self) -> Decoding:
        """The decoding method on this problem; nothing runs before it is asked for requests."""
        return self.method(self.problem, seed=self.seed, sample=self.sample)
