"""How the results were made: versions, seeds, commands and configurations."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from rsdecode import __version__
from rsdecode.evals.report.content import Report
from rsdecode.results.store import ResultSet


class Origin(NamedTuple):
    """A text that says how something was made."""

    title: str
    text: str


def made(report: Report) -> list[tuple[str, str]]:
    """The short facts: a name and a value each."""
    metas = [result_set.meta for result_set in report.result_sets]
    shapes = {
        role: shape["parameters"]
        for meta in metas
        for role, shape in meta.shapes.items()
        if shape is not None
    }
    models = {
        role: _model(config, role)
        for config in (meta.config for meta in metas)
        for role in ("draft", "target", "reward")
    }
    facts = [
        (role, f"{spec}, {shapes[role]:,} parameters" if role in shapes else spec)
        for role, spec in models.items()
    ]
    return [
        *facts,
        ("seed", _listed(meta.seed for meta in metas)),
        ("results of rsdecode", _listed(meta.version for meta in metas)),
        ("report of rsdecode", __version__),
        ("folders", _listed(report.folders)),
        *(("note", note) for note in dict.fromkeys(n for meta in metas for n in meta.notes)),
    ]


def origins(report: Report) -> list[Origin]:
    """What was asked, and each configuration once with the methods that it belongs to."""
    found = [
        Origin(f"{folder}/run.json: what was asked last", asked)
        for folder in report.folders
        if (asked := _asked(folder)) is not None
    ]
    users: dict[str, list[ResultSet]] = {}
    for result_set in report.result_sets:
        users.setdefault(_yaml(result_set.meta.config), []).append(result_set)
    found += [
        Origin(
            f"configuration of {_listed(result_set.meta.method for result_set in result_sets)}",
            text,
        )
        for text, result_sets in users.items()
    ]
    keys = [[c.meta.data, c.meta.method, c.meta.key, c.meta.problems] for c in report.result_sets]
    found.append(
        Origin(
            "results: data set, method, key, problems asked for",
            "\n".join("  ".join(map(str, key)) for key in keys),
        )
    )
    return found


def _model(config: Mapping[str, Any], role: str) -> str:
    return str(config["reward"]["spec"] if role == "reward" else config[role])


def _asked(folder: Path) -> str | None:
    try:
        asked = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return _yaml(asked).rstrip()


def _yaml(value: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(value), sort_keys=False, allow_unicode=True)


def _listed(values: Any) -> str:
    unique: Sequence[str] = list(dict.fromkeys(map(str, values)))
    return ", ".join(unique)
