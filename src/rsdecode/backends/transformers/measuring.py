"""Log-probabilities of the tokens of a text, from the outputs of its pieces."""

from __future__ import annotations

from typing import TypeVar, cast

from rsdecode.backends.transformers.jobs import Prefilled
from rsdecode.core.protocols import Measure, Measured
from rsdecode.core.types import Usage

Value = TypeVar("Value")
Rows = list[list[Value]]
PIECE = 128
"""Tokens whose outputs are held at a time: for a large vocabulary 80 MB."""


class Measuring:
    """Collects what a `Measured` says."""

    def __init__(self, request: Measure) -> None:
        self._request = request
        self._logprobs: list[float | None] = [None]
        self._top: list[tuple[tuple[int, float], ...]] = []
        self._usage = Usage()

    def add(self, _: int, read: Prefilled) -> None:
        """Take the outputs of the next piece, in the engine's thread."""
        place, ids = len(self._top), self._request.ids
        scores = read.outputs.double().log_softmax(-1)
        count = min(self._request.top, scores.shape[-1])
        found = scores.topk(max(count, 1), dim=-1)
        values, tokens = (
            cast("Rows[float]", found[0].tolist()),
            cast("Rows[int]", found[1].tolist()),
        )
        for row, (best, which) in enumerate(zip(values, tokens, strict=True)):
            self._top.append(tuple(zip(which, best, strict=True)))
            if place + row + 1 < len(ids):
                self._logprobs.append(float(scores[row, ids[place + row + 1]]))
        self._usage += read.usage

    @property
    def measured(self) -> Measured:
        """All of it."""
        return Measured(tuple(self._logprobs), tuple(self._top), self._usage)
