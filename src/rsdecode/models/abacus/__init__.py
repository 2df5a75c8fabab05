"""The embedded family: a draft, a target and a process reward model that ship with the package.

They solve "abacus" problems, multi-step word problems in English (see ``docs/models/abacus.md``).
The weights lie next to this file in ordinary checkpoint folders; nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

from rsdecode.models.abacus.checker import boxed, first_error, is_solved, step_is_right
from rsdecode.models.abacus.generator import LEVELS, Split, generate
from rsdecode.models.abacus.problem import AbacusProblem

__all__ = [
    "LEVELS",
    "PROBLEMS_PER_LEVEL",
    "AbacusProblem",
    "ModelName",
    "Split",
    "boxed",
    "first_error",
    "is_solved",
    "model_path",
    "problems",
    "step_is_right",
]

ModelName = Literal["draft", "target", "prm"]

#: How many problems of each level ``problems`` gives when no limit is named.
PROBLEMS_PER_LEVEL = 200


def model_path(name: ModelName) -> Path:
    """The checkpoint folder of a model of the family.

    Args:
        name: ``draft`` and ``target`` are Qwen2 causal language models, ``prm`` is a Qwen2
            backbone with a value head (``Qwen2ForPrmModel``).

    Returns:
        A folder with config.json, model.safetensors, tokenizer.json and tokenizer_config.json.

    Raises:
        ValueError: There is no such model.
        FileNotFoundError: The package was installed without its weights.
    """
    if name not in get_args(ModelName):
        raise ValueError(f"unknown model {name!r}, choose one of {get_args(ModelName)}")
    folder = Path(__file__).parent / name
    if not (folder / "model.safetensors").is_file():
        raise FileNotFoundError(
            f"{folder} holds no weights: reinstall rsdecode, or run the recipe in recipes/abacus"
        )
    return folder


def problems(
    split: Split, *, levels: Sequence[int] | None = None, limit: int | None = None
) -> list[AbacusProblem]:
    """The problems of a split, always the same ones in the same order.

    Levels take turns, so any prefix of the list holds them in equal parts.

    Args:
        split: ``train``, ``validation`` or ``test``; no two share a problem structure.
        levels: Which levels, 1 to 5; all of them by default.
        limit: How many problems in all; by default 200 for each level. There is no upper bound.

    Raises:
        ValueError: Unknown split or level, no level at all, or a negative limit.
    """
    if split not in get_args(Split):
        raise ValueError(f"unknown split {split!r}, choose one of {get_args(Split)}")
    chosen = tuple(LEVELS) if levels is None else tuple(levels)
    if not chosen or any(level not in LEVELS for level in chosen):
        raise ValueError(f"levels must be some of {list(LEVELS)}, got {levels!r}")
    count = PROBLEMS_PER_LEVEL * len(chosen) if limit is None else limit
    if count < 0:
        raise ValueError(f"limit must not be negative, got {limit!r}")
    return [generate(split, chosen[i % len(chosen)], i // len(chosen)) for i in range(count)]
