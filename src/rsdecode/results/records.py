"""Trajectories as plain JSON objects: what `--json`, result files and the server give out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from rsdecode.core.answer import extract_answer
from rsdecode.core.cost import ModelShape, flops
from rsdecode.core.thoughts import THOUGHTS, Thoughts
from rsdecode.core.types import Alternative, Ledger, Proposal, Role, Step, Trajectory

Shapes = Mapping[Role, ModelShape | None]


def trajectory_to_record(
    trajectory: Trajectory, *, shapes: Shapes, config_hash: str, thoughts: Thoughts = THOUGHTS
) -> dict[str, Any]:
    """One trajectory as a JSON object.

    Args:
        trajectory: a finished answer, or what there was of it.
        shapes: of the models, for the FLOPs (`Models.shapes()`).
        config_hash: of the configuration that it was made with.
        thoughts: the marks that the model's thoughts end with.

    Returns:
        Only JSON types. `answer` is None unless the model ended its answer itself; `flops` holds
        None where a model's shape is not known.
    """
    cost = flops(trajectory.ledger, shapes)
    thoughts = replace(thoughts, opened=trajectory.thoughts.opened)
    return {
        "id": trajectory.problem.id,
        "sample": trajectory.sample,
        "answer": extract_answer(trajectory.text, thoughts) if trajectory.finished else None,
        "text": trajectory.text,
        "stop_reason": trajectory.stop_reason.value,
        "error": trajectory.error,
        "steps": [step_to_record(step) for step in trajectory.steps],
        "alternatives": [alternative_to_record(other) for other in trajectory.alternatives],
        "usage": ledger_to_record(trajectory.ledger),
        "flops": {"paper": cost.paper, "exact": cost.exact},
        "seconds": trajectory.seconds,
        "seed": trajectory.seed,
        "config_hash": config_hash,
    }


def step_to_record(step: Step) -> dict[str, Any]:
    """One step, with the drafts that it replaced; `thought` is there where it is one."""
    return {
        "text": step.text,
        "source": step.source.value,
        "reward": step.reward,
        "weight": step.weight,
        "accepted": step.accepted,
        "finish_reason": step.finish_reason.value,
        "tokens": step.token_count,
        "rejected": [proposal_to_record(draft) for draft in step.rejected],
        **({"thought": True} if step.thought else {}),
    }


def proposal_to_record(draft: Proposal) -> dict[str, Any]:
    """A draft that did not enter the answer."""
    return {
        "text": draft.text,
        "reward": draft.reward,
        "finish_reason": draft.finish_reason.value,
        "tokens": draft.token_count,
    }


def alternative_to_record(other: Alternative) -> dict[str, Any]:
    """An answer that was written and not chosen."""
    return {
        "text": other.text,
        "answer": other.answer,
        "votes": other.votes,
        "score": other.score,
        "stop_reason": other.stop_reason.value,
    }


def ledger_to_record(ledger: Ledger) -> dict[str, dict[str, Any]]:
    """Usage by role."""
    return {role.value: asdict(ledger.of(role)) for role in Role}
