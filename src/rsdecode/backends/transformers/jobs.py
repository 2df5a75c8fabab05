"""What the engine is asked, in token ids, and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rsdecode.core.requests import Sampling
from rsdecode.core.segment import WHOLE_ANSWER, Boundary
from rsdecode.core.types import FinishReason, Usage

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Decode:
    """Continue `ids` (see `core.requests.Generate` for the rest).

    Attributes:
        explained: give the distribution that each token was drawn from.
        logprobs: give each token's log-probability (see `core.types.Segment`).
        guess: what the new tokens may be (see `core.requests.Generate`).
        begun: how many of `ids`, the last ones, earlier jobs have written of the step; the reply
            begins with them, and limits and boundary count them.
        pauses: whether to reply at the first token that was not guessed.
        told: give each token's own log-probability, and so many of the likeliest in its place.
    """

    session: str
    ids: tuple[int, ...]
    max_tokens: int
    boundary: Boundary = WHOLE_ANSWER
    sampling: Sampling = Sampling()
    seed: int = 0
    explained: bool = False
    logprobs: bool = False
    guess: tuple[int, ...] = ()
    begun: int = 0
    pauses: bool = False
    told: int | None = None

    @property
    def prompt(self) -> tuple[int, ...]:
        """What comes before the step."""
        return self.ids[: len(self.ids) - self.begun]


@dataclass(frozen=True, slots=True)
class WrittenToken:
    """A token's text, its log-probability at temperature 1, and the likeliest ids in its place."""

    text: str
    logprob: float
    top: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class Decoded:
    """The step's token ids, without the end-of-sequence token, and their text.

    Attributes:
        end: the end-of-sequence token, if there was one.
        distributions: float64, on the CPU, [tokens, vocabulary], the end included; only where the
            job asked for an explanation.
        logprobs: of each id that is new, and of the end; None where the job did not ask for them.
        told: of each id that is new; None where the job did not ask for it.
    """

    ids: tuple[int, ...]
    text: str
    finish_reason: FinishReason
    usage: Usage
    end: int | None = None
    distributions: Tensor | None = field(default=None, repr=False)
    logprobs: tuple[float, ...] | None = None
    told: tuple[WrittenToken, ...] | None = None


@dataclass(frozen=True, slots=True)
class Prefill:
    """Read `ids` and give the network's output at the positions `marks`.

    Attributes:
        columns: output columns to keep (say, two token ids of a vocabulary); empty keeps all.
        digest: makes of the outputs [n, W] at some of the marks, and the numbers of these marks,
            what is kept of them [n, anything]; called where the outputs are, which spares copies of
            whole vocabularies.
        returns: numbers of first tokens that later requests of the session may return to, which a
            model with states keeps its states for; empty where that is not known.
    """

    session: str
    ids: tuple[int, ...]
    marks: tuple[int, ...]
    columns: tuple[int, ...] = ()
    digest: Callable[[Tensor, Sequence[int]], Tensor] | None = None
    returns: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Prefilled:
    """Outputs at the marks: float32, on the CPU, [marks, columns]."""

    outputs: Tensor = field(repr=False)
    usage: Usage
