"""A reward whose numbers are made probabilities of a step being right (`rsd calibrate`)."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rsdecode.core.cost import ModelShape
from rsdecode.core.errors import ConfigError
from rsdecode.core.protocols import Caching, Closeable, Noted, ReadsDraft, RewardModel, Sized
from rsdecode.core.requests import Failed, Score, Scored, TokenReward
from rsdecode.rewards.calibration import Calibration


def read_calibration(path: str | Path, spec: str | None = None) -> Calibration:
    """Read the file that `rsd calibrate` has written.

    Args:
        path: the file.
        spec: of the reward that it is used with.

    Raises:
        ConfigError: there is none, it is of no use, or it was fitted to another reward.
    """
    try:
        record = json.loads(Path(path).expanduser().read_text(encoding="utf-8"))
        fitted, calibration = str(record["reward"]), Calibration.of(record)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ConfigError(f"reward.calibration {str(path)!r}: cannot be read: {reason}") from None
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"reward.calibration {str(path)!r} is no calibration ({error!r}): rsd calibrate writes "
            "them"
        ) from None
    if spec is not None and fitted != spec:
        raise ConfigError(
            f"reward.calibration {str(path)!r} was fitted to {fitted}, but the reward is {spec}: "
            "run rsd calibrate for it, or leave reward.calibration out"
        )
    return calibration


class CalibratedReward:
    """The same reward model, whose rewards go through a monotone map.

    Args:
        model: gives the rewards.
        calibration: the map.
    """

    def __init__(self, model: RewardModel, calibration: Calibration) -> None:
        self.model = model
        self.calibration = calibration

    @property
    def shape(self) -> ModelShape | None:
        """Of the model behind it."""
        return self.model.shape if isinstance(self.model, Sized) else None

    @property
    def reads_draft(self) -> bool:
        """Whether the model behind it scores nothing but steps as the draft wrote them."""
        return isinstance(self.model, ReadsDraft) and self.model.reads_draft

    @property
    def notes(self) -> tuple[str, ...]:
        """Of the model behind it."""
        return self.model.notes if isinstance(self.model, Noted) else ()

    def describe(self) -> dict[str, str]:
        """What `rsd doctor` prints."""
        describe = getattr(self.model, "describe", dict[str, str])
        low, high = self.calibration.probabilities[0], self.calibration.probabilities[-1]
        return {**describe(), "calibrated": f"to probabilities from {low:.3f} to {high:.3f}"}

    def end(self, session: str) -> None:
        """A session is over."""
        if isinstance(self.model, Caching):
            self.model.end(session)

    def clear(self) -> None:
        """Empty the cache, between two runs."""
        if isinstance(self.model, Caching):
            self.model.clear()

    def close(self) -> None:
        """Close the model; safe to call twice."""
        if isinstance(self.model, Closeable):
            self.model.close()

    async def score(self, requests: Sequence[Score]) -> list[Scored | Failed]:
        """Score all requests in one batch; replies in their order.

        A number that is no reward stays as it is: whoever asked says what is wrong with it.
        """
        return [
            reply if isinstance(reply, Failed) else self._mapped(reply)
            for reply in await self.model.score(requests)
        ]

    def _mapped(self, reply: Scored) -> Scored:
        if not all(math.isfinite(r) and 0.0 <= r <= 1.0 for r in reply.rewards):
            return reply
        tokens = tuple(
            tuple(TokenReward(end, self.calibration.probability(reward)) for end, reward in own)
            for own in reply.tokens
        )
        return replace(reply, rewards=self.calibration.all(reply.rewards), tokens=tokens)
