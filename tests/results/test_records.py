from __future__ import annotations

import json
from dataclasses import replace

import pytest

from rsdecode.core.cost import ModelShape
from rsdecode.core.types import (
    Alternative,
    FinishReason,
    Ledger,
    Problem,
    Proposal,
    Role,
    Segment,
    Step,
    Trajectory,
    Usage,
)
from rsdecode.results.records import trajectory_to_record

STEP = Step(
    Segment("It is \\boxed{12}."),
    Role.TARGET,
    FinishReason.EOS,
    reward=0.25,
    weight=0.0,
    rejected=(
        Proposal("No.\n\n", 0.25, FinishReason.STOP, 3),
        Proposal("cut", None, FinishReason.LENGTH),
    ),
    token_count=6,
)
LEDGER = Ledger(
    Usage(5, 1, 4, 1, 0.5, 20), Usage(6, 2, 7, 1, 0.25, 30), Usage(9, 3, 0, 1, 0.125, 45)
)
TRAJECTORY = Trajectory(
    Problem.ask("q", id="p7"),
    (STEP,),
    FinishReason.EOS,
    LEDGER,
    seed=3,
    sample=2,
    seconds=1.5,
    alternatives=(Alternative("11", FinishReason.EOS, "11", votes=1, score=0.5),),
)
SHAPES = {Role.DRAFT: ModelShape(10), Role.TARGET: ModelShape(100), Role.REWARD: ModelShape(5)}


def test_a_record_by_hand() -> None:
    record = trajectory_to_record(TRAJECTORY, shapes=SHAPES, config_hash="abc")
    exact = record["flops"].pop("exact")
    assert exact > 0
    record["usage"] = {
        role: {name: count for name, count in usage.items() if count}
        for role, usage in record["usage"].items()
    }
    assert record == {
        "id": "p7",
        "sample": 2,
        "answer": "12",
        "text": "It is \\boxed{12}.",
        "stop_reason": "eos",
        "error": None,
        "steps": [
            {
                "text": "It is \\boxed{12}.",
                "source": "target",
                "reward": 0.25,
                "weight": 0.0,
                "accepted": False,
                "finish_reason": "eos",
                "tokens": 6,
                "rejected": [
                    {"text": "No.\n\n", "reward": 0.25, "finish_reason": "stop", "tokens": 3},
                    {"text": "cut", "reward": None, "finish_reason": "length", "tokens": 0},
                ],
            }
        ],
        "alternatives": [
            {"text": "11", "answer": "11", "votes": 1, "score": 0.5, "stop_reason": "eos"}
        ],
        "usage": {
            "draft": {
                "prefill_tokens": 5,
                "cached_tokens": 1,
                "decoded_tokens": 4,
                "calls": 1,
                "seconds": 0.5,
                "attended_tokens": 20,
            },
            "target": {
                "prefill_tokens": 6,
                "cached_tokens": 2,
                "decoded_tokens": 7,
                "calls": 1,
                "seconds": 0.25,
                "attended_tokens": 30,
            },
            "reward": {
                "prefill_tokens": 9,
                "cached_tokens": 3,
                "calls": 1,
                "seconds": 0.125,
                "attended_tokens": 45,
            },
        },
        "flops": {"paper": 2.0 * (10 * 4 + 100 * 7 + 5 * 9)},
        "seconds": 1.5,
        "seed": 3,
        "config_hash": "abc",
    }


def test_a_record_is_plain_json() -> None:
    record = trajectory_to_record(TRAJECTORY, shapes={}, config_hash="abc")
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert record["flops"] == {"paper": None, "exact": None}
    assert type(record["stop_reason"]) is str


@pytest.mark.parametrize("reason", [r for r in FinishReason if r is not FinishReason.EOS])
def test_what_is_not_finished_has_no_answer(reason: FinishReason) -> None:
    cut = replace(TRAJECTORY, stop_reason=reason, error="why")
    record = trajectory_to_record(cut, shapes=SHAPES, config_hash="abc")
    assert (record["answer"], record["error"]) == (None, "why")
    assert record["text"] == TRAJECTORY.text
