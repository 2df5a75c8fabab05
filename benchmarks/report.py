"""The form in which every benchmark prints its cases."""

from __future__ import annotations

import json
import platform
import statistics
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("rsdecode", "torch", "transformers")


def device_name() -> str:
    """The GPU's name, or the CPU's with the number of threads that torch uses."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{_cpu_name()}, {torch.get_num_threads()} threads"


def versions() -> dict[str, str]:
    """Installed versions of what matters."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def alternate(
    ours: Callable[[], float], theirs: Callable[[], float], rounds: int
) -> dict[str, float]:
    """Run the two in turn, `rounds` times; compare pair by pair.

    Args:
        ours: runs once, returns a rate (higher is better). Warm it up before.
        theirs: likewise.
        rounds: runs of each.
    """
    pairs = [(ours(), theirs()) for _ in range(rounds)]
    ratios = [a / b for a, b in pairs]
    return {
        "ratio": round(statistics.median(ratios), 3),
        "ratio_min": round(min(ratios), 3),
        "ratio_max": round(max(ratios), 3),
        "ours": round(statistics.median(a for a, _ in pairs), 1),
        "theirs": round(statistics.median(b for _, b in pairs), 1),
    }


def show(cases: Sequence[Mapping[str, Any]], *, as_json: bool) -> None:
    """Print the cases, as JSON or as a table."""
    if as_json:
        print(json.dumps({"device": device_name(), "versions": versions(), "cases": cases}))
        return
    print(f"{device_name()}; " + ", ".join(f"{k} {v}" for k, v in versions().items()))
    for case in cases:
        print("  ".join(f"{key} {value}" for key, value in case.items()))


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]} ({len(names)} cores)" if names else platform.machine()
