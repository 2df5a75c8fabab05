"""Every number of a summary, recomputed here in plain Python from the stored lines."""

from __future__ import annotations

import asyncio
import itertools
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rsdecode.backends.scripted import ScriptedModel, ScriptedReward
from rsdecode.config import RunConfig
from rsdecode.core.cost import ModelShape
from rsdecode.core.errors import RequestError
from rsdecode.core.protocols import Models
from rsdecode.core.requests import Generate, Score
from rsdecode.evals.grading import GradingPool
from rsdecode.evals.plan import EvalRequest, plan
from rsdecode.evals.runner import run_eval_task, shapes_of
from rsdecode.results.comparison import compare
from rsdecode.results.store import Meta, ResultSet, Store, read_result_sets
from rsdecode.results.summary import summarise

SHAPES = {
    "draft": ModelShape(1000, 2, 8, 8, 50, 400, True),
    "target": ModelShape(9000, 4, 16, 16, 50, 800, False),
    "reward": ModelShape(500, 1, 8, 8, 0, 100, True),
}
METHODS = ("draft", "target", "rsd", "rsd@0.2", "best-of-2")
PROBLEMS, SAMPLES = 23, 2


def number(request: Generate | Score) -> int:
    return int(request.context.question.split()[2])


def draft(request: Generate) -> str:
    """Wrong on every third number; endless on every seventh; two steps."""
    n = number(request)
    if n % 7 == 6:
        return "again and again and again " * 9
    if not request.context.answer and request.boundary.stops:
        return f"We add one to {n}.\n\n"
    return f"So it is \\boxed{{{n + 1 + (n % 3 == 0)}}}"


def target(request: Generate) -> str:
    """Wrong on 4 and 10 only; cannot be reached on 5."""
    n = number(request)
    if n == 5:
        raise RequestError("the server is gone")
    if not request.context.answer and request.boundary.stops:
        return f"One more than {n}.\n\n"
    return f"The answer is \\boxed{{{n + 1 + (n in (4, 10))}}}"


def reward(request: Score) -> float:
    """Likes steps of even numbers, and the beginnings of some others."""
    n = number(request)
    return 0.9 if n % 2 == 0 else (0.75, 0.3, 0.1)[(n + len(request.context.answer)) % 3]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of `rsd eval` with these models, two samples each."""
    folder = tmp_path_factory.mktemp("eval")
    questions = folder / "questions.jsonl"
    questions.write_text(
        "\n".join(
            json.dumps({"question": f"What is {n} + 1?", "answer": str(n + 1)})
            for n in range(PROBLEMS)
        )
    )
    config = RunConfig.model_validate(
        {
            "run": {"samples": SAMPLES},
            "limits": {"max_tokens": 20, "max_step_tokens": 12},
            "prompt": {"system": ""},
        }
    )
    models = Models(
        ScriptedModel(draft, shape=SHAPES["draft"]),
        ScriptedModel(target, shape=SHAPES["target"]),
        ScriptedReward(reward, shape=SHAPES["reward"]),
    )

    async def run() -> None:
        with Store(folder) as store, GradingPool(1) as pool:
            for task in plan(config, EvalRequest((str(questions),), METHODS)):
                file = store.cell(task.meta)
                file.begin(shapes_of(task.method, models))
                await run_eval_task(
                    task, task.jobs, models, file.append, pool=pool, watch=lambda _: None
                )
                file.close()

    asyncio.run(run())
    return folder


@pytest.fixture(scope="module")
def cells(folder: Path) -> dict[str, ResultSet]:
    return {cell.meta.method: cell for cell in read_result_sets(folder)}


@pytest.fixture(scope="module")
def lines(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """The raw lines by method."""
    return {
        json.loads(path.read_text())["method"]: [
            json.loads(line) for line in path.with_suffix(".jsonl").read_text().splitlines()
        ]
        for path in (folder / "cells").glob("*.json")
    }


def wilson(share: float, n: float) -> tuple[float, float]:
    """The roots of (p - share)^2 = z^2 p (1 - p) / n."""
    z = 1.959963984540054
    a, b, c = 1 + z * z / n, -(2 * share + z * z / n), share * share
    root = math.sqrt(b * b - 4 * a * c)
    return (-b - root) / (2 * a), (-b + root) / (2 * a)


def interpolated(values: list[float], percent: float) -> float:
    ordered = sorted(values)
    place = (len(ordered) - 1) * percent / 100
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] * (1 - place + low) + ordered[high] * (place - low)


def recomputed(lines: list[dict[str, Any]], shapes: dict[str, Any]) -> dict[str, Any]:
    """The record of a summary from raw lines."""
    n, problems = len(lines), len({line["id"] for line in lines})
    right = [line["grade"]["correct"] for line in lines]
    steps = [step for line in lines for step in line["steps"] if step["weight"] is not None]
    used = {
        role: {
            name: sum(line["usage"][role][name] for line in lines)
            for name in ("prefill_tokens", "decoded_tokens", "calls", "attended_tokens")
        }
        for role in ("draft", "target", "reward")
    }
    tokens = {role: used[role]["decoded_tokens"] for role in ("draft", "target")}
    tokens["reward"] = used["reward"]["prefill_tokens"] + used["reward"]["decoded_tokens"]
    by_role: dict[str, dict[str, float]] = {}
    for role, count in used.items():
        shape = shapes[role] or dict.fromkeys(shapes["draft"] or shapes["target"], 0)
        output = shape["vocabulary"] * shape["hidden"]
        kept = shape["parameters"] - shape["embedding_parameters"]
        dense = kept - (0 if shape["tied"] else output)
        ran = count["prefill_tokens"] + max(count["decoded_tokens"] - count["calls"], 0)
        attention = 4 * shape["layers"] * shape["attention_width"] * count["attended_tokens"]
        by_role[role] = {
            "paper": 2.0 * shape["parameters"] * tokens[role],
            "exact": 2.0 * dense * ran + attention + 2.0 * output * count["decoded_tokens"],
        }
    low, high = wilson(sum(right) / n, problems)
    accepted = [step for step in steps if step["accepted"]]
    return {
        "problems": problems,
        "answers": n,
        "correct": sum(right),
        "accuracy": sum(right) / n,
        "accuracy_low": low,
        "accuracy_high": high,
        "acceptance_rate": len(accepted) / len(steps) if steps else None,
        "token_acceptance_rate": (
            sum(step["tokens"] for step in accepted) / sum(step["tokens"] for step in steps)
            if steps
            else None
        ),
        "draft_alone": sum(
            ok and {step["source"] for step in line["steps"]} == {"draft"}
            for ok, line in zip(right, lines, strict=True)
        )
        / n,
        "truncation_rate": sum(line["stop_reason"] in ("length", "max_steps") for line in lines)
        / n,
        "failure_rate": sum(line["stop_reason"] in ("error", "cancelled") for line in lines) / n,
        "tokens": tokens,
        "flops": {kind: sum(by_role[r][kind] for r in by_role) for kind in ("paper", "exact")},
        "flops_by_role": by_role,
        "latency": {
            f"p{p}": interpolated([line["seconds"] for line in lines], p) for p in (50, 90, 99)
        },
        "seconds": sum(line["elapsed"] for line in lines),
    }


def flat(value: Any, name: str = "") -> dict[str, Any]:
    """Numbers by their path; what is not known is not a number."""
    if value is None:
        return {name: math.nan}
    if not isinstance(value, dict):
        return {name: value}
    return {k: v for key, part in value.items() for k, v in flat(part, f"{name}.{key}").items()}


@pytest.mark.parametrize("method", METHODS)
def test_every_number_comes_from_the_lines(
    cells: dict[str, ResultSet], lines: dict[str, list[dict[str, Any]]], method: str
) -> None:
    cell = cells[method]
    record = summarise(cell).as_record()
    assert (record.pop("method"), record.pop("key")) == (method, cell.meta.key)
    assert record.pop("data") == cell.meta.data
    assert record.pop("failed") is None
    shapes: Any = cell.meta.shapes
    expected = recomputed(lines[method], shapes)
    assert flat(record) == pytest.approx(flat(expected), rel=1e-9, nan_ok=True)
    assert record["answers"] == PROBLEMS * SAMPLES


def test_the_verdicts_are_those_of_the_script(cells: dict[str, ResultSet]) -> None:
    """From the rules in the docstrings above."""
    summary = {method: summarise(cell) for method, cell in cells.items()}
    numbers = range(PROBLEMS)
    ends = [n for n in numbers if n % 7 != 6]
    assert summary["draft"].correct == SAMPLES * sum(n % 3 != 0 for n in ends)
    assert summary["draft"].truncation_rate == (PROBLEMS - len(ends)) / PROBLEMS
    assert summary["target"].correct == SAMPLES * (PROBLEMS - 3)
    assert summary["target"].failure_rate == 1 / PROBLEMS
    assert summary["draft"].draft_alone == summary["draft"].accuracy.estimate
    assert summary["target"].draft_alone == 0
    rates = [summary[method].acceptance_rate for method in METHODS]
    assert rates[0] is rates[1] is rates[4] is None
    assert rates[2] is not None
    assert rates[3] is not None
    assert 0 < rates[2] < rates[3] < 1
    assert {m: s.flops.paper is None for m, s in summary.items()} == dict.fromkeys(METHODS, False)
    rules = {r["grade"]["rule"] for cell in cells.values() for r in cell.records}
    assert {"truncated", "failed"} < rules


def test_a_comparison_by_hand(
    cells: dict[str, ResultSet], lines: dict[str, list[dict[str, Any]]]
) -> None:
    found = compare(cells["rsd"], cells["target"])
    assert found is not None
    ours, theirs = (
        {(x["id"], x["sample"]): x["grade"]["correct"] for x in lines[method]}
        for method in ("rsd", "target")
    )
    won = sum(ours[pair] and not theirs[pair] for pair in ours)
    lost = sum(theirs[pair] and not ours[pair] for pair in ours)
    assert (found.won, found.lost, found.pairs, found.problems) == (won, lost, 46, 23)
    assert won + lost > 0
    sums = [
        sum(ours[pair] - theirs[pair] for pair in ours if pair[0] == id)
        for id in {id for id, _ in ours}
    ]
    differ = [value for value in sums if value]
    flips = itertools.product((1, -1), repeat=len(differ))
    seen = [abs(sum(v * flip for v, flip in zip(differ, signs, strict=True))) for signs in flips]
    p = sum(total >= abs(won - lost) for total in seen) / len(seen)
    assert found.p_value == pytest.approx(p)
    assert found.difference.estimate == pytest.approx((won - lost) / 46)
    assert found.difference.low <= found.difference.estimate <= found.difference.high
    record = found.as_record()
    assert json.loads(json.dumps(record)) == record
    mirrored = compare(cells["target"], cells["rsd"])
    assert mirrored is not None
    assert (mirrored.won, mirrored.lost, mirrored.p_value) == (lost, won, found.p_value)


def test_only_common_answers_are_compared(cells: dict[str, ResultSet]) -> None:
    draft, target = cells["draft"], cells["target"]
    some = replace(draft, records=draft.records[:5])
    found = compare(some, target)
    assert found is not None
    assert (found.pairs, found.problems) == (5, 3)
    assert compare(replace(draft, records=[]), target) is None


def test_models_of_unknown_shape_have_no_flops(cells: dict[str, ResultSet]) -> None:
    cell = cells["rsd"]
    unknown = replace(cell.meta, shapes={**cell.meta.shapes, "target": None})
    summary = summarise(replace(cell, meta=unknown))
    assert (summary.flops.paper, summary.flops.exact) == (None, None)
    by_role = summary.as_record()["flops_by_role"]
    assert by_role["target"] == {"paper": None, "exact": None}
    assert by_role["draft"]["paper"] > 0


def test_verified_tokens_make_the_token_acceptance(cells: dict[str, ResultSet]) -> None:
    cell = cells["target"]
    usage = cell.records[0]["usage"]
    judged = {**usage["target"], "verified_tokens": 8, "accepted_tokens": 6}
    record = {**cell.records[0], "usage": {**usage, "target": judged}}
    summary = summarise(replace(cell, records=[record]))
    assert (summary.token_acceptance_rate, summary.acceptance_rate) == (0.75, None)


def test_a_cell_without_answers() -> None:
    with pytest.raises(ValueError, match="no answers of rsd to x yet"):
        summarise(ResultSet(Meta("x", "rsd", "k", {}, {}, "0", 0, 3), []))
