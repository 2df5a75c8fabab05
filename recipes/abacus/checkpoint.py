"""Checkpoints that survive ``kill -9``: written aside, then renamed over the old one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch


def save(path: Path, state: dict[str, Any]) -> None:
    """Replaces ``path`` in one step; a reader sees the old file or the new one, never half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(f".{os.getpid()}.part")
    with aside.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)


def load(path: Path) -> dict[str, Any] | None:
    """The last complete checkpoint, or None."""
    return torch.load(path, map_location="cpu", weights_only=True) if path.exists() else None
