"""Hidden states at the marks, computed once and kept on the disk piece by piece."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import (
    load_file,  # pyright: ignore[reportUnknownVariableType]
    save_file,  # pyright: ignore[reportUnknownVariableType]
)
from torch import Tensor

from rsdecode.core.errors import StorageError
from rsdecode.training.train_data import Example

PIECE = 64
"""Solutions of one file."""


def features_of(
    network: Any,
    examples: Sequence[Example],
    folder: Path,
    name: str,
    tell: Callable[[str], None],
    *,
    rows: int = 8,
) -> Tensor:
    """The hidden states of all marks of all examples, in order: [S, H] in float32.

    Args:
        network: a backbone.
        examples: to be read.
        folder: where pieces are kept; it belongs to this training alone.
        name: of the examples, for the files.
        tell: is told how far it is.
        rows: solutions read at once.

    Raises:
        StorageError: a piece cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pieces: list[Tensor] = []
    count = -(-len(examples) // PIECE)
    for number in range(count):
        path = folder / f"{name}-{number:05d}.safetensors"
        part = examples[number * PIECE : (number + 1) * PIECE]
        if not path.exists():
            _write(path, _read(network, part, rows))
            tell(f"features of {name}: {number + 1} of {count}")
        pieces.append(load_file(path)["features"])
    return torch.cat(pieces) if pieces else torch.zeros(0, 0)


@torch.inference_mode()
def _read(network: Any, examples: Sequence[Example], rows: int) -> Tensor:
    """Short ones are read together; every example's states in its own place."""
    network.eval()
    states: list[Tensor] = [torch.zeros(0)] * len(examples)
    order = sorted(range(len(examples)), key=lambda at: len(examples[at].ids))
    for start in range(0, len(order), rows):
        chosen = order[start : start + rows]
        width = max(len(examples[at].ids) for at in chosen)
        ids = [[*examples[at].ids, *[0] * (width - len(examples[at].ids))] for at in chosen]
        tokens = torch.tensor(ids, device=network.device)
        hidden = network(input_ids=tokens, use_cache=False).last_hidden_state
        for row, at in enumerate(chosen):
            states[at] = hidden[row, list(examples[at].marks)].float().cpu()
    return torch.cat(states)


def _write(path: Path, features: Tensor) -> None:
    aside = path.with_suffix(f".{os.getpid()}.part")
    try:
        save_file({"features": features.contiguous()}, aside)
        aside.replace(path)
    except (OSError, RuntimeError) as error:
        aside.unlink(missing_ok=True)
        raise StorageError(
            f"{path}: cannot be written: {error}. Pieces that were written are kept: make room, "
            "then the same command goes on from there"
        ) from error
