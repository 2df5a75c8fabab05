"""What `rsd prm train` is to do: the labels it learns from, and the key of its result."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rsdecode.config.specs import ModelSpec, SpecKind
from rsdecode.core.errors import ConfigError
from rsdecode.evals.datasets.lines import BadLine, file_digest
from rsdecode.results.answer_file import replace_file
from rsdecode.results.identity import describe, digest, model_digest
from rsdecode.training.backbone import place_of
from rsdecode.training.label_files import HELD_OUT, TRAIN, read_about
from rsdecode.training.layouts import read_labels
from rsdecode.training.solutions import LabelledSolution
from rsdecode.training.splitting import split
from rsdecode.training.train_settings import TrainSettings

ABOUT = "training.json"
DONE = "done"


@dataclass(frozen=True, slots=True)
class TrainPlan:
    """One training.

    Attributes:
        train: solutions to learn from.
        held_out: solutions of other problems, to stop and to measure by.
        boundary: of the steps, where the labels say so.
        bad: lines that could not be read, by file.
        key: names all that decides the result.
    """

    settings: TrainSettings
    backbone: str
    labels: tuple[Path, ...]
    train: list[LabelledSolution]
    held_out: list[LabelledSolution]
    boundary: str | None
    bad: tuple[tuple[Path, BadLine], ...]
    key: str


def plan_training(
    settings: TrainSettings,
    backbone: str,
    labels: Sequence[Path],
    boundary: str | None = None,
    held_out_share: float = 0.1,
) -> TrainPlan:
    """Read the labels.

    Args:
        settings: of the training.
        backbone: its spec.
        labels: folders of `rsd prm label`, or files in any of the known layouts.
        boundary: that the steps must have; None for that of the labels.
        held_out_share: of the problems of a file that brings no held-out ones.

    Raises:
        ConfigError: there are no labels, none of them is right or wrong, or their steps are cut at
            different boundaries.
    """
    if not labels:
        raise ConfigError("give --labels: a folder of rsd prm label, or a file of labelled steps")
    train, held_out = list[LabelledSolution](), list[LabelledSolution]()
    bad, contents, boundaries = list[tuple[Path, BadLine]](), list[str](), dict[str, Path]()
    for path in labels:
        files = [path / TRAIN, path / HELD_OUT] if path.is_dir() else [path]
        if path.is_dir() and not files[0].is_file():
            raise ConfigError(
                f"--labels {path}: there is no {TRAIN} in it: rsd prm label makes one"
            )
        if stated := read_about(path).get("boundary") if path.is_dir() else None:
            boundaries.setdefault(str(stated), path)
        files = [file for file in files if file == files[0] or file.is_file()]
        read = [read_labels(file) for file in files]
        contents += [file_digest(file, b"\0")[0] for file in files]
        bad += [(file, line) for file, part in zip(files, read, strict=True) for line in part.bad]
        if len(read) > 1 and read[1].solutions:
            train += read[0].solutions
            held_out += read[1].solutions
        else:
            ours, theirs = split(read[0].solutions, held_out_share, settings.seed)
            train += ours
            held_out += theirs
    _check_boundaries(boundaries, boundary)
    _check_labels(train, labels)
    apart = {solution.question for solution in train}
    held_out = [solution for solution in held_out if solution.question not in apart]
    key = digest(
        {
            "settings": describe(settings),
            "backbone": _backbone_digest(backbone),
            "labels": contents,
            "held_out": held_out_share,
        }
    )
    return TrainPlan(
        settings, backbone, tuple(labels), train, held_out,
        next(iter(boundaries), boundary), tuple(bad), key,
    )  # fmt: skip


def claim(folder: Path, plan: TrainPlan, command: str) -> bool:
    """Keep a folder for one training; returns whether its result is there already.

    Raises:
        ConfigError: the folder holds another training, or something else.
        StorageError: it cannot be written.
    """
    path = folder / ABOUT
    if path.is_file():
        known = read_training(folder)
        if known.get("key") != plan.key:
            raise ConfigError(
                f"--out {folder} holds a training with other labels, settings or backbone: choose "
                "another folder, or remove it"
            )
        return bool(known.get(DONE))
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"--out {folder} holds something else: choose another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--out {folder}: cannot be written: {error.strerror}") from None
    write_training(folder, {"key": plan.key, "command": command, DONE: False})
    return False


def read_training(folder: Path) -> dict[str, Any]:
    """What a folder's training.json says.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        found: dict[str, Any] = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{folder / ABOUT}: cannot be read: {error}") from None
    return found


def write_training(folder: Path, about: Mapping[str, Any]) -> None:
    """Write training.json.

    Raises:
        StorageError: it cannot be written.
    """
    path = folder / ABOUT
    replace_file(path, json.dumps(about, indent=2).encode() + b"\n", str(path))


def _backbone_digest(spec: str) -> str:
    """What the weights are, or how they are named."""
    return model_digest(ModelSpec(SpecKind.HF, place_of(spec)))


def _check_boundaries(found: Mapping[str, Path], wanted: str | None) -> None:
    if len(found) > 1:
        (one, first), (other, second) = list(found.items())[:2]
        raise ConfigError(
            f"the steps of {first} are cut at {one!r} and those of {second} at {other!r}: a reward "
            "model reads one kind of step; label again with the same --boundary"
        )
    for stated, path in found.items():
        if wanted is not None and stated != wanted:
            raise ConfigError(
                f"--boundary {wanted!r}: the steps of {path} are cut at {stated!r}; label again, "
                "or leave it out"
            )


def _check_labels(solutions: Sequence[LabelledSolution], labels: Sequence[Path]) -> None:
    names = ", ".join(map(str, labels))
    if not solutions:
        raise ConfigError(f"--labels {names}: there is no labelled solution in it")
    verdicts = {step.right for solution in solutions for step in solution.steps}
    if len(verdicts) < 2:
        said = "right" if verdicts == {True} else "wrong"
        raise ConfigError(
            f"--labels {names}: every step is {said}: nothing can be learnt from that; label more "
            "problems, or harder ones"
        )
