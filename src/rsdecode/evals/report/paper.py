"""Table 2 of the paper (Skywork PRM), to stand beside our rows.

"Reward-Guided Speculative Decoding for Efficient LLM Reasoning", arXiv:2501.19324, ICML 2025.
Accuracy in percent. Deltas are thresholds of the binary step.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from rsdecode.config.method_names import parse_method_name
from rsdecode.core.errors import ConfigError

REFERENCE = (
    "Reward-Guided Speculative Decoding for Efficient LLM Reasoning, arXiv:2501.19324, Table 2"
)
DATASETS = ("math500", "gsm8k", "gaokao2023en", "olympiadbench", "gpqa", "mmlu_stem")


@dataclass(frozen=True, slots=True)
class PaperRow:
    """A row of the table.

    Attributes:
        kind: of method, as `rsdecode.config.method_names` has it.
        method: as the table names it.
        models: draft/target/PRM sizes, as far as the method uses them.
        accuracy: in percent, in the order of `DATASETS`.
    """

    kind: str
    method: str
    models: str
    accuracy: tuple[float, ...]


TABLE_2 = (
    PaperRow("target", "target", "7B", (83.2, 95.7, 66.8, 41.2, 32.8, 71.8)),
    PaperRow("majority", "majority@16", "1.5B", (79.0, 88.9, 69.9, 45.5, 27.3, 65.9)),
    PaperRow("best-of", "best-of-16", "1.5B", (82.2, 93.3, 69.4, 44.9, 27.3, 71.4)),
    PaperRow("speculative", "SD", "1.5B/7B", (83.4, 95.6, 67.3, 40.6, 28.8, 72.0)),
    PaperRow("rsd", "RSD, delta 0.7", "1.5B/7B/1.5B", (82.6, 94.5, 68.8, 39.6, 38.4, 71.4)),
    PaperRow("rsd", "RSD, delta 0.7", "1.5B/7B/7B", (84.6, 95.5, 68.3, 42.1, 33.8, 72.3)),
    PaperRow("target", "target", "72B", (85.6, 95.8, 73.0, 48.4, 42.4, 85.8)),
    PaperRow("majority", "majority@64", "7B", (88.0, 96.5, 73.8, 47.6, 35.9, 77.2)),
    PaperRow("best-of", "best-of-64", "7B", (86.2, 97.2, 71.4, 44.4, 36.4, 75.4)),
    PaperRow("speculative", "SD", "7B/72B", (84.8, 95.8, 71.7, 47.6, 41.4, 85.3)),
    PaperRow("rsd", "RSD, delta 0.7", "7B/72B/7B", (88.0, 96.7, 74.0, 49.9, 42.9, 84.4)),
)


@dataclass(frozen=True, slots=True)
class PaperFigure:
    """One number of the table."""

    method: str
    models: str
    accuracy: float


def paper_figures(data: str, method: str) -> list[PaperFigure]:
    """The table's numbers for a data set and a method of ours; empty where it has none.

    Args:
        data: as `--data` names it; `gsm8k@FILE` and `gsm8k:SPLIT` are `gsm8k`.
        method: as `--methods` names it; the number of samples and options are not compared.
    """
    name = dataset_of(data)
    if name not in DATASETS:
        return []
    place, kind = DATASETS.index(name), kind_of(method)
    return [
        PaperFigure(row.method, row.models, row.accuracy[place])
        for row in TABLE_2
        if row.kind == kind
    ]


def dataset_of(data: str) -> str:
    """The data set's own name, without the file or the split that it was read from."""
    return re.split(r"[@:]", data, maxsplit=1)[0]


def kind_of(method: str) -> str:
    """The method without its size and options: `best-of` for `best-of-8:min`."""
    try:
        return parse_method_name(method).kind
    except ConfigError:  # of another version
        return method
