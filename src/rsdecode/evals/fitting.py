"""Fits monotone maps from rewards to the share of steps that are right, by scikit-learn."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from rsdecode.core.errors import ConfigError
from rsdecode.rewards.calibration import Calibration

Fit = Literal["isotonic", "platt"]
_GRID = 64
_DIGITS = 6
_CLIP = 1e-6


def fit(how: Fit, rewards: Sequence[float], right: Sequence[bool]) -> Calibration:
    """The map that makes rewards probabilities of being right.

    Args:
        how: `isotonic`, any monotone map; `platt`, a logistic curve over the reward's log-odds, for
            few steps.
        rewards: one for each step, in [0, 1].
        right: whether each step is right.

    Raises:
        ConfigError: there are no right steps, or no wrong ones; or scikit-learn is missing.
    """
    if len(set(right)) < 2:
        raise ConfigError(
            f"all {len(right)} steps are {'right' if right and right[0] else 'wrong'}: a "
            "calibration needs both kinds; give harder or easier problems, or more of them"
        )
    try:
        np: Any = importlib.import_module("numpy")
        isotonic: Any = importlib.import_module("sklearn.isotonic")
        linear: Any = importlib.import_module("sklearn.linear_model")
    except ImportError as error:
        raise ConfigError(
            f"a calibration needs {error.name}, which is not installed: "
            "pip install 'rsdecode[calibrate]'"
        ) from error
    x, y = np.asarray(rewards, dtype=float), np.asarray(right, dtype=float)
    if how == "isotonic":
        model = isotonic.IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(x, y)
        return _ascending(model.X_thresholds_.tolist(), model.y_thresholds_.tolist())
    odds = _log_odds(np.clip(x, _CLIP, 1 - _CLIP))
    curve = linear.LogisticRegression(C=1e6).fit(odds[:, None], y)
    if curve.coef_[0][0] <= 0:
        raise ConfigError(
            "right steps have no higher rewards than wrong ones here: this reward cannot be "
            "calibrated; check its labels with rsd doctor, or take another one"
        )
    grid = np.linspace(_log_odds(_CLIP), _log_odds(1 - _CLIP), _GRID)
    probabilities = curve.predict_proba(grid[:, None])[:, 1]
    return _ascending((1 / (1 + np.exp(-grid))).tolist(), probabilities.tolist())


def _ascending(readings: Sequence[float], probabilities: Sequence[float]) -> Calibration:
    """Rounded points; of those that fall together, the last."""
    points = zip(readings, probabilities, strict=True)
    kept = {round(a, _DIGITS): round(b, _DIGITS) for a, b in points}
    return Calibration(tuple(kept), tuple(kept.values()))


def _log_odds(share: Any) -> Any:
    np: Any = importlib.import_module("numpy")
    return np.log(share / (1 - share))


class Bin(NamedTuple):
    """Steps whose rewards are alike.

    Attributes:
        low: their rewards are from here
        high: to here.
        steps: how many.
        mean: of their rewards.
        right: the share of them that are right.
    """

    low: float
    high: float
    steps: int
    mean: float
    right: float


def reliability(rewards: Sequence[float], right: Sequence[bool], bins: int = 10) -> list[Bin]:
    """The share of right steps by reward, in bins of equal width; empty ones are left out."""
    members: list[list[tuple[float, bool]]] = [[] for _ in range(bins)]
    for reward, good in zip(rewards, right, strict=True):
        members[min(int(reward * bins), bins - 1)].append((reward, good))
    return [
        Bin(
            place / bins,
            (place + 1) / bins,
            len(each),
            sum(reward for reward, _ in each) / len(each),
            sum(good for _, good in each) / len(each),
        )
        for place, each in enumerate(members)
        if each
    ]


def error(rewards: Sequence[float], right: Sequence[bool]) -> float:
    """The expected calibration error: how far mean reward and share of right steps are apart."""
    rows = reliability(rewards, right)
    return sum(row.steps * abs(row.mean - row.right) for row in rows) / len(right)
