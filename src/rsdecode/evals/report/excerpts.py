"""Which trajectories the page holds, and in what form.

The page is one file, so it holds only some of them: the same problems for every method, every
other one a problem on which the methods disagree, because those are what people look for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import Any

MAX_TEXT = 4000
"""Characters of a step, or of a question, that the page shows."""

Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ExcerptSource:
    """The trajectories of one method on one data set."""

    data: str
    method: str
    records: Sequence[Record]


@dataclass(frozen=True, slots=True)
class Excerpts:
    """The trajectories that the page holds.

    Attributes:
        entries: JSON objects, by data set, problem and method.
        total: how many there are in all.
    """

    entries: list[dict[str, Any]]
    total: int


def choose(sources: Sequence[ExcerptSource], limit: int) -> Excerpts:
    """Take `limit` trajectories at most, an equal share of each data set."""
    by_data: dict[str, list[ExcerptSource]] = {}
    for source in sources:
        by_data.setdefault(source.data, []).append(source)
    total = sum(len(source.records) for source in sources)
    entries: list[dict[str, Any]] = []
    for place, group in enumerate(by_data.values()):
        share = (limit - len(entries)) // (len(by_data) - place)
        entries += _of_data(group, share)
    return Excerpts(entries, total)


def _of_data(group: Sequence[ExcerptSource], limit: int) -> list[dict[str, Any]]:
    """Whole problems, with the answers of every method, while they fit."""
    problems: dict[str, list[tuple[ExcerptSource, Record]]] = {}
    for source in group:
        for record in source.records:
            problems.setdefault(record["id"], []).append((source, record))
    chosen: list[dict[str, Any]] = []
    for problem in _order(problems):
        answers = problems[problem]
        if len(chosen) + len(answers) > limit:
            break
        chosen += [_entry(source, record) for source, record in answers]
    return chosen


def _order(problems: Mapping[str, Sequence[tuple[ExcerptSource, Record]]]) -> list[str]:
    """Disputed problems and others in turn, each in the order of the data set."""
    verdicts = {
        problem: {bool(record["grade"]["correct"]) for _, record in answers}
        for problem, answers in problems.items()
    }
    disputed = [problem for problem, found in verdicts.items() if len(found) > 1]
    others = [problem for problem, found in verdicts.items() if len(found) == 1]
    turns = chain.from_iterable(zip_longest(disputed, others))
    return [problem for problem in turns if problem is not None]


def _entry(source: ExcerptSource, record: Record) -> dict[str, Any]:
    grade = record["grade"]
    return {
        "data": source.data,
        "method": source.method,
        "id": record["id"],
        "sample": record["sample"],
        "question": _shortened(record["question"] or ""),
        "reference": _shortened(str(record["reference"])),
        "extracted": None if grade["extracted"] is None else _shortened(str(grade["extracted"])),
        "correct": bool(grade["correct"]),
        "rule": grade["rule"],
        "stop": record["stop_reason"],
        "error": record["error"],
        "seconds": record["seconds"],
        "steps": [_step(step) for step in record["steps"]],
    }


def _step(step: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "source": step["source"],
        "text": _shortened(step["text"]),
        "reward": step["reward"],
        "weighed": step["weight"] is not None,
        "accepted": step["accepted"],
        "rejected": [
            {"text": _shortened(draft["text"]), "reward": draft["reward"]}
            for draft in step["rejected"]
        ],
    }


def _shortened(text: str) -> str:
    if len(text) <= MAX_TEXT:
        return text
    return f"{text[:MAX_TEXT]} [... {len(text) - MAX_TEXT} more characters]"
