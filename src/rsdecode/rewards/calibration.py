"""A monotone map from a reward model's readings to probabilities."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any


@dataclass(frozen=True, slots=True)
class Calibration:
    """Straight lines between points; constant before the first and after the last.

    Attributes:
        readings: of the points, ascending.
        probabilities: of being right, at these readings, never descending.

    Raises:
        ValueError: they are no such points.
    """

    readings: tuple[float, ...]
    probabilities: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.readings or len(self.readings) != len(self.probabilities):
            raise ValueError("as many probabilities as readings are needed, one at least")
        if not all(map(math.isfinite, self.readings)):
            raise ValueError("readings must be finite numbers")
        if any(a >= b for a, b in pairwise(self.readings)):
            raise ValueError("readings must ascend")
        if any(a > b for a, b in pairwise(self.probabilities)):
            raise ValueError("probabilities must not descend")
        if not (self.probabilities[0] >= 0.0 and self.probabilities[-1] <= 1.0):
            raise ValueError("probabilities must be in [0, 1]")

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Calibration:
        """From its JSON object.

        Raises:
            KeyError, TypeError, ValueError: it is none.
        """
        return cls(*(tuple(map(float, record[key])) for key in ("readings", "probabilities")))

    def as_record(self) -> dict[str, list[float]]:
        """As a JSON object."""
        return {"readings": list(self.readings), "probabilities": list(self.probabilities)}

    def probability(self, reading: float) -> float:
        """The probability at a reading."""
        place = bisect_right(self.readings, reading)
        if place == 0:
            return self.probabilities[0]
        if place == len(self.readings):
            return self.probabilities[-1]
        low, high = self.readings[place - 1], self.readings[place]
        share = (reading - low) / (high - low)
        a, b = self.probabilities[place - 1], self.probabilities[place]
        return a + share * (b - a)

    def all(self, readings: Sequence[float]) -> tuple[float, ...]:
        """The probabilities at several readings."""
        return tuple(map(self.probability, readings))
