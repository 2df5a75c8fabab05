"""Every exception of ours arrives in another process as what it is (Ray pickles it)."""

from __future__ import annotations

import ast
import importlib
import pickle
from pathlib import Path
from typing import Any

import pytest

import rsdecode

ROOT = Path(rsdecode.__file__).parent
BASES = {"Exception", "BaseException", "ValueError", "RuntimeError", "OSError"}
ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "ApiError": (429, "try again"),
    "Busy": (503, "full", 2.0),
    "Refusal": (400, "too long"),
}
"""Of those that take more than a message."""


def classes() -> list[type[Exception]]:
    """All exception classes in the source, found by reading it."""
    parsed = {path: ast.parse(path.read_text()) for path in ROOT.rglob("*.py")}
    names, found = set(BASES), dict[str, Path]()
    while True:
        new = {
            node.name: path
            for path, tree in parsed.items()
            for node in ast.walk(tree)
            if isinstance(node, ast.ClassDef) and node.name not in names
            and any(isinstance(base, ast.Name) and base.id in names for base in node.bases)
        }  # fmt: skip
        if not new:
            break
        names |= set(new)
        found |= new
    return [getattr(importlib.import_module(module_of(path)), name) for name, path in found.items()]


def module_of(path: Path) -> str:
    return ".".join(("rsdecode", *path.relative_to(ROOT).with_suffix("").parts))


def test_all_are_found() -> None:
    assert {"ApiError", "ContextFull", "WorkerLost", "ReplicaLost", "Busy"} <= {
        kind.__name__ for kind in classes()
    }


@pytest.mark.parametrize("kind", classes(), ids=lambda kind: kind.__name__)
def test_it_arrives_as_what_it_is(kind: type[Exception]) -> None:
    error = kind(*ARGUMENTS.get(kind.__name__, ("what is wrong, and what to do",)))
    there = pickle.loads(pickle.dumps(error))
    assert type(there) is kind
    assert str(there) == str(error)
    assert vars(there) == vars(error)
