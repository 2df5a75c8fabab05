"""Problems to solve, by name: `abacus:test`, `abacus:validation:2`, `abacus:train:1,3`."""

from __future__ import annotations

from typing import cast, get_args

from rsdecode.core.errors import ConfigError
from rsdecode.core.types import Problem
from rsdecode.models.abacus import LEVELS, Split, problems


def is_dataset(name: str) -> bool:
    """Whether a name stands for a data set rather than for a file."""
    return name.startswith("abacus:")


def load_dataset(name: str, limit: int | None = None) -> list[Problem]:
    """The problems of a data set, always the same ones in the same order.

    Args:
        name: `abacus:SPLIT`, or `abacus:SPLIT:LEVELS` with levels of difficulty such as `2,3`.
        limit: how many at most; None for all.

    Raises:
        ConfigError: there is no such data set.
    """
    _, _, rest = name.partition(":")
    split, _, wanted = rest.partition(":")
    levels = wanted.split(",") if wanted else [str(level) for level in LEVELS]
    known = {str(level) for level in LEVELS}
    if not is_dataset(name) or split not in get_args(Split) or not known.issuperset(levels):
        raise ConfigError(
            f"unknown data set {name!r}: use abacus:{'|'.join(get_args(Split))}, with levels "
            f"such as abacus:test:2,3 ({min(LEVELS)} to {max(LEVELS)})"
        )
    drawn = problems(cast("Split", split), levels=[int(level) for level in levels], limit=limit)
    return [Problem.ask(p.question, id=p.id, answer=p.answer) for p in drawn]
