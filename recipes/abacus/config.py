"""Every number of the recipe in one place."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Shape:
    """The size of one Qwen2 network; every head is 64 wide."""

    hidden: int
    layers: int
    heads: int
    key_value_heads: int
    feed_forward: int


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast to train: warm up, hold, then decay linearly to zero.

    This happens again from every update in ``restarts``, up to a fraction of the peak rate that
    ``restart_rates`` gives for each of them.
    """

    updates: int
    problems_per_update: int
    peak_rate: float
    warmup: int = 40
    decay_from: float = 0.3
    tokens_per_forward: int = 1024
    save_every: int = 200
    restarts: tuple[int, ...] = ()
    restart_rates: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Config:
    """One whole run of the recipe."""

    seed: int
    draft: Shape
    target: Shape
    prm_digits: Shape
    prm: Shape
    draft_schedule: Schedule
    target_schedule: Schedule
    prm_digits_schedule: Schedule
    #: update of the first part from which on it also sees whole steps, and at which it ends
    prm_mixes_from: int
    prm_grows_at: int
    prm_schedule: Schedule
    draft_samples: int
    target_samples: int
    calibration_samples: int
    evaluation_problems: int
    evaluation_thresholds: tuple[float, ...]


THRESHOLDS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 1.0)

DEFAULT = Config(
    seed=0,
    draft=Shape(64, 3, 2, 1, 48),
    target=Shape(192, 6, 3, 1, 576),
    prm_digits=Shape(64, 6, 2, 1, 48),
    prm=Shape(64, 7, 2, 1, 48),
    draft_schedule=Schedule(1500, 16, 3e-3, tokens_per_forward=2048),
    target_schedule=Schedule(
        10_300,
        8,
        3e-3,
        decay_from=0.4,
        restarts=(1600, 3800, 7600),
        restart_rates=(1.0, 1.0, 0.35),
    ),
    prm_digits_schedule=Schedule(1800, 16, 2e-3, decay_from=0.3, tokens_per_forward=2048),
    prm_mixes_from=400,
    prm_grows_at=800,
    prm_schedule=Schedule(
        6400,
        16,
        1.5e-3,
        decay_from=0.2,
        tokens_per_forward=2048,
        restarts=(2400, 4400),
        restart_rates=(0.5, 0.35),
    ),
    draft_samples=30_000,
    target_samples=1_000,
    calibration_samples=2_000,
    evaluation_problems=1_000,
    evaluation_thresholds=THRESHOLDS,
)

TINY = Config(
    seed=0,
    draft=Shape(64, 1, 1, 1, 64),
    target=Shape(64, 2, 1, 1, 128),
    prm_digits=Shape(64, 2, 1, 1, 96),
    prm=Shape(64, 3, 1, 1, 96),
    draft_schedule=Schedule(6, 4, 3e-3, warmup=2, save_every=2),
    target_schedule=Schedule(
        6, 4, 2e-3, warmup=2, save_every=2, restarts=(4,), restart_rates=(0.5,)
    ),
    prm_digits_schedule=Schedule(6, 4, 3e-3, warmup=2, save_every=2),
    prm_mixes_from=2,
    prm_grows_at=4,
    prm_schedule=Schedule(8, 4, 3e-3, warmup=2, save_every=2),
    draft_samples=12,
    target_samples=6,
    calibration_samples=6,
    evaluation_problems=4,
    evaluation_thresholds=(0.0, 1.0),
)

CONFIGS = {"default": DEFAULT, "tiny": TINY}
