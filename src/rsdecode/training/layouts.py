"""Reads labelled steps in the layouts of public data sets; which one it is, the keys tell.

TRL, axolotl    prompt, completions, labels
PRM800K         question.problem, label.steps[].completions[].rating (-1, 0, 1)
Math-Shepherd   input with the mark "ки" after each step, label with + or - in its place
PRMBench        original_question, modified_process, error_steps (numbers from 1)
ProcessBench    problem, steps, label (index of the first wrong step; -1 for none)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

from rsdecode.core.errors import InputError
from rsdecode.evals.datasets.lines import BadLine, read_lines, read_object
from rsdecode.training.solutions import LabelledSolution, from_row, solution_of

SHEPHERD_MARK = "ки"
_SHEPHERD_STEP = re.compile(r"Step 1:")
_SIGN = re.compile(r"\s([+-])\s*$")


class Labels(NamedTuple):
    """What a file holds.

    Attributes:
        layout: its name, for people; empty where no line could be read.
        bad: lines that could not be used.
    """

    layout: str
    solutions: list[LabelledSolution]
    bad: list[BadLine]


def read_labels(path: Path, limit: int | None = None) -> Labels:
    """Read a file of labelled solutions, one JSON object a line, in any of the layouts.

    A bad line is reported and does not stop the others.

    Args:
        path: of the file.
        limit: lines at most.

    Raises:
        ConfigError: the file cannot be read.
    """
    layout, solutions, bad, used = "", list[LabelledSolution](), list[BadLine](), 0
    for number, line in read_lines(path):
        if used == limit:
            break
        try:
            row = read_object(line)
            name, read = _layout_of(row)
            solutions += read(row, number)
        except InputError as error:
            bad.append(BadLine(number, str(error)))
        else:
            layout, used = layout or name, used + 1
    return Labels(layout, solutions, bad)


Read = Callable[[Mapping[str, Any], int], "list[LabelledSolution]"]


def _layout_of(row: Mapping[str, Any]) -> tuple[str, Read]:
    keys = row.keys()
    if {"prompt", "completions", "labels"} <= keys:
        return "TRL", lambda row, number: [from_row(row, number)]
    if isinstance(row.get("question"), dict) and "label" in keys:
        return "PRM800K", _prm800k
    if {"input", "label"} <= keys:
        return "Math-Shepherd", _shepherd
    if "error_steps" in keys:
        return "PRMBench", _prmbench
    if {"problem", "steps", "label"} <= keys:
        return "ProcessBench", _processbench
    raise InputError(
        f"no layout of labelled steps has the keys {', '.join(map(repr, list(row)[:8]))}: known "
        "are prompt, completions, labels (TRL), PRM800K, Math-Shepherd, PRMBench and ProcessBench"
    )


def _prm800k(row: Mapping[str, Any], number: int) -> list[LabelledSolution]:
    """The path that its labellers chose, and a solution for each other completion that is wrong.

    A neutral step (0) is taken for right, as its authors do; without any rating, a step and what
    follows it are left out.
    """
    question, label = row["question"], row["label"]
    problem, path = str(question.get("problem", "")), list[str]()
    found: list[LabelledSolution] = []
    whole = True
    for place, step in enumerate(label.get("steps", [])):
        completions: list[Any] = step.get("completions") or []
        for other, completion in enumerate(completions):
            if completion.get("rating") == -1:
                wrong = solution_of(
                    f"{number}-{place}-{other}", problem, [*path, completion["text"]], place,
                    problem=str(number), source="PRM800K",
                )  # fmt: skip
                found.append(wrong)
        chosen: dict[str, Any] | None = step.get("human_completion")
        if step.get("chosen_completion") is not None:
            chosen = completions[step["chosen_completion"]]
        if chosen is None or (chosen.get("rating") or 0) < 0:
            whole = False
            break
        path.append(str(chosen["text"]))
    if path:
        right = solution_of(str(number), problem, path, None, problem=str(number), source="PRM800K",
                            answer_right=True if whole else None)  # fmt: skip
        found.append(right)
    if not found:
        raise InputError("no step of it has a rating")
    return found


def _shepherd(row: Mapping[str, Any], number: int) -> list[LabelledSolution]:
    text, labelled = str(row["input"]), str(row["label"])
    start = _SHEPHERD_STEP.search(text)
    if start is None or SHEPHERD_MARK not in text:
        raise InputError(f'"input" has no "Step 1:" followed by steps that end in {SHEPHERD_MARK}')
    question, body = text[: start.start()], text[start.start() :]
    texts = [part for part in body.split(SHEPHERD_MARK) if part.strip()]
    signs = [
        match[1] if (match := _SIGN.search(line)) else ""
        for line in _shepherd_lines(labelled[start.start() :], len(texts))
    ]
    if len(signs) != len(texts) or "" in signs:
        raise InputError(f'"label" does not end each of {len(texts)} steps in + or -')
    row_of_trl = {
        "prompt": question,
        "completions": texts,
        "labels": [sign == "+" for sign in signs],
        "id": str(number),
        "source": str(row.get("task", "Math-Shepherd")),
    }
    return [from_row(row_of_trl, number)]


def _shepherd_lines(body: str, count: int) -> Iterator[str]:
    """The labelled steps: those of one line end where the next one begins."""
    for place in range(1, count + 1):
        head, mark, rest = body.partition(f"Step {place + 1}:")
        yield head
        body = mark + rest


def _prmbench(row: Mapping[str, Any], number: int) -> list[LabelledSolution]:
    question = row.get("modified_question", row.get("original_question", row.get("question")))
    texts = row.get("modified_process", row.get("steps"))
    errors = row["error_steps"]
    if not isinstance(texts, list) or not isinstance(errors, list):
        raise InputError('"modified_process" (or "steps") and "error_steps" must be lists')
    wrong = [int(step) for step in cast("list[Any]", errors)]
    id = str(row.get("idx", row.get("id", number)))
    kind = row.get("classification", row.get("kind"))
    steps = [str(text) for text in cast("list[Any]", texts)]
    found = solution_of(
        id, str(question or ""), steps, min(wrong) - 1 if wrong else None,
        source="PRMBench", kind=None if kind is None else str(kind),
    )  # fmt: skip
    return [found]


def _processbench(row: Mapping[str, Any], number: int) -> list[LabelledSolution]:
    steps, label = row["steps"], row["label"]
    if not isinstance(steps, list) or isinstance(label, bool) or not isinstance(label, int):
        raise InputError('"steps" must be a list and "label" a whole number')
    answer_right = row.get("final_answer_correct")
    found = solution_of(
        str(row.get("id", number)),
        str(row["problem"]),
        [str(text) for text in cast("list[Any]", steps)],
        None if label < 0 else label,
        source=str(row.get("generator", "ProcessBench")),
        answer_right=answer_right if isinstance(answer_right, bool) else None,
    )
    return [found]
