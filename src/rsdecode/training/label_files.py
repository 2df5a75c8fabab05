"""Writes labelled solutions for training: train.jsonl, validation.jsonl, and what they are."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from rsdecode.core.counted import counted
from rsdecode.core.errors import ConfigError
from rsdecode.results.answer_file import replace_file
from rsdecode.training.label_records import solution_of_record
from rsdecode.training.solutions import LabelledSolution, to_row
from rsdecode.training.splitting import split

TRAIN, HELD_OUT, ABOUT, CARD = "train.jsonl", "validation.jsonl", "labels.json", "README.md"
ORIGIN = ("data", "by", "reward", "calibration", "key")
"""What a row says of how it was labelled, of all that labels.json says."""
EVERYBODY = "everybody gets the answer right"
AGAIN = "the same solution again"


@dataclass(frozen=True, slots=True)
class FileOptions:
    """How labels are written.

    Attributes:
        held_out: share of the problems that go to validation.jsonl.
        seed: of that choice.
        keep_easy: keep the problems whose answers are all right.
    """

    held_out: float = 0.1
    seed: int = 0
    keep_easy: bool = False


@dataclass(frozen=True, slots=True)
class Written:
    """What was written.

    Attributes:
        left_out: solutions that were not, by reason.
    """

    train: int
    held_out: int
    steps: int
    right_steps: int
    left_out: Mapping[str, int]
    completions: int


def write_labels(
    folder: Path,
    records: Iterable[Mapping[str, Any]],
    about: Mapping[str, Any],
    options: FileOptions,
) -> Written:
    """Write the labels of all records that hold some.

    Args:
        folder: to write into.
        records: of solutions (see `label_records`).
        about: what they were made with; goes to labels.json.
        options: how.

    Raises:
        StorageError: the files cannot be written.
    """
    left_out: Counter[str] = Counter()
    everything = [record for record in records if record["error"] is None]
    origin = {name: about[name] for name in ORIGIN if about.get(name) is not None}
    solutions, seen = list[LabelledSolution](), set[tuple[str, tuple[str, ...]]]()
    easy = set[str]() if options.keep_easy else easy_problems(everything)
    for record in everything:
        if record["left_out"] is not None:
            left_out[record["left_out"]] += 1
            continue
        if record["id"] in easy:
            left_out[EVERYBODY] += 1
            continue
        solution = solution_of_record(record, origin)
        if (solution.question, solution.texts) in seen:
            left_out[AGAIN] += 1
            continue
        seen.add((solution.question, solution.texts))
        solutions.append(solution)
    train, held_out = split(solutions, options.held_out, options.seed)
    written = Written(
        train=len(train),
        held_out=len(held_out),
        steps=sum(len(s.steps) for s in solutions),
        right_steps=sum(step.right for s in solutions for step in s.steps),
        left_out=dict(left_out),
        completions=sum(int(record["written"]) for record in everything),
    )
    _write_rows(folder / TRAIN, train)
    _write_rows(folder / HELD_OUT, held_out)
    description = {**about, "split": {"held_out": options.held_out, "seed": options.seed},
                   "train": written.train, "validation": written.held_out, "steps": written.steps,
                   "right_steps": written.right_steps, "left_out": dict(left_out),
                   "completions": written.completions}  # fmt: skip
    path = folder / ABOUT
    replace_file(path, json.dumps(description, indent=2).encode() + b"\n", str(path))
    card = folder / CARD
    replace_file(card, _card(about, written).encode(), str(card))
    return written


def easy_problems(records: Sequence[Mapping[str, Any]]) -> set[str]:
    """Problems of which several answers are known and all are right."""
    verdicts: defaultdict[str, list[bool]] = defaultdict(list)
    for record in records:
        if record["right"] is not None:
            verdicts[record["id"]].append(bool(record["right"]))
    return {id for id, right in verdicts.items() if len(right) > 1 and all(right)}


def read_about(folder: Path) -> dict[str, Any]:
    """What a folder's labels were made with; empty where nothing says so.

    Raises:
        ConfigError: labels.json cannot be read.
    """
    path = folder / ABOUT
    if not path.is_file():
        return {}
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    if not isinstance(found, dict):
        raise ConfigError(f"{path} does not describe labels of rsd prm label")
    return cast("dict[str, Any]", found)


def _card(about: Mapping[str, Any], written: Written) -> str:
    """A data set card, by which `datasets.load_dataset` finds the two files of the folder."""
    splits = [("train", TRAIN, written.train), ("validation", HELD_OUT, written.held_out)]
    files = [f"  - split: {name}\n    path: {file}\n" for name, file, rows in splits if rows]
    share = written.right_steps / max(1, written.steps)
    reasons = "".join(f"- {counted(count, 'solution')}: {reason}\n" for reason, count in
                      sorted(written.left_out.items()))  # fmt: skip
    lines = [
        "---\nconfigs:\n- config_name: default\n  data_files:",
        f"{''.join(files)}---\n",
        f"# Labelled steps of solutions to {about.get('data', 'questions')}\n",
        f"Made by `rsd prm label --by {about.get('by')}` (rsdecode {about.get('version')}); "
        f"draft {about.get('draft')}, target {about.get('target')}. "
        f"{counted(written.train, 'solution')} to train on, {written.held_out:,} of held-out "
        f"problems; {counted(written.steps, 'step')}, "
        f"{share:.1%} right.",
        "",
        "`prompt` is the question, `completions` are the steps, `labels` say whether all is right "
        "up to there; `soft_labels` and `rollouts` (ended right, written) are of completions.",
        "",
        f"Left out:\n\n{reasons or '- nothing'}",
    ]
    return "\n".join(lines)


def _write_rows(path: Path, solutions: Sequence[LabelledSolution]) -> None:
    lines = (json.dumps(to_row(s), ensure_ascii=False) + "\n" for s in solutions)
    replace_file(path, "".join(lines).encode("utf-8", "surrogateescape"), str(path))
