"""Chunks of a step: where a reward is read that comes before the step's end.

Reward models mark the end of a step. A chunk of tokens is not a step: a mark after it would say
that it is. So the answer so far is cut into steps again; finished ones get their mark, and the
unfinished last one is read as it stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, cast, get_args

from rsdecode.core.requests import Score
from rsdecode.core.segment import PARAGRAPH
from rsdecode.rewards.format import Format, Ids

At = Literal["auto", "mark", "token", "lowest"]
"""Where the reward of a chunk is read that ends no step: at a mark that is put after it as after a
step; at its last token; the lowest reading at its tokens; `auto` where the checkpoint says."""


def parse_at(value: object) -> At:
    """Read the name of a place.

    Raises:
        ValueError: it is none.
    """
    if value not in get_args(At):
        raise ValueError(f"{value!r} must be one of {', '.join(get_args(At))}")
    return cast("At", value)


class ChunkFormat(Format, Protocol):
    """A format that can leave a step unfinished."""

    def partial_ids(self, text: str) -> Ids:
        """The tokens of the beginning of a step, without a mark."""
        ...


@dataclass(frozen=True, slots=True)
class Piece:
    """What is read for one chunk.

    Attributes:
        ids: the question and the answer up to its end.
        marks: the positions whose lowest reading is its reward.
        inside: whether it ends no step.
    """

    ids: Ids
    marks: tuple[int, ...]
    inside: bool


def pieces(format: ChunkFormat, prompt: Ids, request: Score, *, lowest: bool) -> list[Piece]:
    """What is read for each of a request's chunks.

    A chunk that ends a step, or the answer, is read at the step's mark; any other at its last
    token, or at all of its own tokens.
    """
    before = "".join(segment.text for segment in request.context.answer)
    found: list[Piece] = []
    start = len(_rendered(format, prompt, before)[0])
    for place, chunk in enumerate(request.steps):
        before += chunk.text
        last = request.ends and place == len(request.steps) - 1
        ids, inside = _rendered(format, prompt, before, ends=last)
        end = len(ids)
        first = min(start, end - 1) if lowest and inside else end - 1
        found.append(Piece(ids, tuple(range(first, end)), inside))
        start = end
    return found


def _rendered(
    format: ChunkFormat, prompt: Ids, answer: str, *, ends: bool = False
) -> tuple[Ids, bool]:
    """The ids of an answer so far, and whether it stops inside a step."""
    steps = PARAGRAPH.split(answer)
    inside = bool(steps) and not ends and PARAGRAPH.end(steps[-1]) is None
    whole: Sequence[str] = steps[:-1] if inside else steps
    ids = list(prompt)
    for index, step in enumerate(whole):
        ids += format.step_ids(step, index)
    if inside:
        ids += format.partial_ids(steps[-1])
    return tuple(ids), inside
