"""Labelled solutions as the records of a store, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rsdecode.core.cost import ModelShape, flops
from rsdecode.core.requests import TokenReward
from rsdecode.core.types import Ledger, Problem, Role
from rsdecode.results.records import ledger_to_record
from rsdecode.training.labeller import Labelled, Sampled
from rsdecode.training.solutions import LabelledSolution, LabelledStep


def as_record(
    problem: Problem,
    labelled: Labelled,
    shapes: Mapping[Role, ModelShape | None],
    extra: Ledger = Ledger(),
) -> dict[str, Any]:
    """One solution of a problem as a JSON object.

    Args:
        problem: whose solution it is.
        labelled: the solution.
        shapes: of the models, for the FLOPs.
        extra: what was spent on the problem as a whole, and is booked here.
    """
    sampled = labelled.sampled
    ledger = sampled.ledger + labelled.ledger + extra
    cost = flops(ledger, shapes)
    return {
        "id": problem.id,
        "sample": sampled.sample,
        "stop_reason": "eos" if labelled.error is None else "error",
        "error": labelled.error,
        "question": problem.question,
        "reference": problem.answer,
        "writer": sampled.writer.value,
        "temperature": sampled.temperature,
        "steps": list(sampled.steps),
        "given": sampled.given,
        "ended": sampled.ended,
        "right": sampled.right,
        "labels": [step.right for step in labelled.steps],
        "soft": [step.soft for step in labelled.steps],
        "completions": [step.completions for step in labelled.steps],
        "tokens": [[[end, round(reward, 4)] for end, reward in s.tokens] for s in labelled.steps],
        "written": labelled.written,
        "left_out": labelled.left_out,
        "usage": ledger_to_record(ledger),
        "flops": {"paper": cost.paper, "exact": cost.exact},
    }


def from_record(record: Mapping[str, Any]) -> Labelled:
    """What a record was made of; costs are not read."""
    sampled = Sampled(
        sample=int(record["sample"]),
        writer=Role(record["writer"]),
        temperature=float(record["temperature"]),
        steps=tuple(record["steps"]),
        given=int(record["given"]),
        ended=bool(record["ended"]),
        right=record["right"],
        ledger=Ledger(),
    )
    columns = ("labels", "soft", "completions", "tokens")
    labels = zip(*(record[name] for name in columns), strict=True)
    steps = tuple(
        LabelledStep(
            text,
            right,
            soft,
            None if count is None else (count[0], count[1]),
            tokens=tuple(TokenReward(end, reward) for end, reward in tokens),
        )
        for text, (right, soft, count, tokens) in zip(record["steps"], labels, strict=False)
    )
    return Labelled(sampled, steps, int(record["written"]), left_out=record["left_out"])


def solution_of_record(record: Mapping[str, Any], origin: Mapping[str, Any]) -> LabelledSolution:
    """The labelled solution of a record that was not left out."""
    labelled = from_record(record)
    steps = tuple(step.stripped() for step in labelled.steps if step.text.strip())
    return LabelledSolution(
        id=f"{record['id']}/{record['sample']}",
        problem=str(record["id"]),
        question=str(record["question"]),
        steps=steps,
        source=str(record["writer"]),
        given=int(record["given"]),
        answer_right=record["right"],
        origin={**origin, "temperature": record["temperature"]},
    )
