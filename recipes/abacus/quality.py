"""How good a reward is at telling right steps from wrong ones."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp
from typing import Any


def area_under_curve(scores: Sequence[float], right: Sequence[bool]) -> float:
    """The chance that a right step scores above a wrong one, ties counted half."""
    order = sorted(range(len(scores)), key=scores.__getitem__)
    rank_sum = 0.0
    i = 0
    while i < len(order):
        j = i
        while j + 1 < len(order) and scores[order[j + 1]] == scores[order[i]]:
            j += 1
        middle = (i + j) / 2 + 1
        rank_sum += middle * sum(right[order[k]] for k in range(i, j + 1))
        i = j + 1
    good = sum(right)
    bad = len(right) - good
    return (rank_sum - good * (good + 1) / 2) / (good * bad) if good and bad else float("nan")


def reliability(
    rewards: Sequence[float], right: Sequence[bool], bins: int = 10
) -> list[tuple[float, float, int, float, float]]:
    """Rows (from, to, steps, mean reward, share that is right), empty bins left out."""
    rows: list[tuple[float, float, int, float, float]] = []
    for i in range(bins):
        low, high = i / bins, (i + 1) / bins
        inside = [
            (reward, good)
            for reward, good in zip(rewards, right, strict=True)
            if low <= reward < high or (i == bins - 1 and reward >= high)
        ]
        if inside:
            count = len(inside)
            mean = sum(reward for reward, _ in inside) / count
            rows.append((low, high, count, mean, sum(good for _, good in inside) / count))
    return rows


def quality(
    logits: Sequence[float], right: Sequence[bool], threshold: float = 0.7
) -> dict[str, Any]:
    """Everything the model card says about a PRM on one set of steps.

    A sampled solution is cut after its first wrong step, so the share of wrong steps that are
    found is the first-error detection rate.
    """
    rewards = [1 / (1 + exp(-max(-60.0, min(60.0, logit)))) for logit in logits]
    wrong = [reward for reward, good in zip(rewards, right, strict=True) if not good]
    good = [reward for reward, good in zip(rewards, right, strict=True) if good]
    rows = reliability(rewards, right)
    return {
        "steps": len(right),
        "share_right": len(good) / max(1, len(right)),
        "accuracy_at_half": sum(
            (reward >= 0.5) == ok for reward, ok in zip(rewards, right, strict=True)
        )
        / max(1, len(right)),
        "area_under_curve": area_under_curve(rewards, right),
        "errors_found": sum(reward < threshold for reward in wrong) / max(1, len(wrong)),
        "false_alarms": sum(reward < threshold for reward in good) / max(1, len(good)),
        "calibration_error": sum(n * abs(mean - share) for _, _, n, mean, share in rows)
        / max(1, len(right)),
        "reliability": rows,
    }
