"""`rsd eval` over thresholds that share greedy replies, as `rsd demo` and `rsd tune` share them.

    python -m benchmarks.sweep --methods rsd@0.6,rsd@0.8 (and all other options of rsd eval)

A reply carries the usage that it had the first time: tokens and FLOPs are those of each method
alone, seconds are not. What was interrupted goes on, and shares nothing with what was done before.
"""

from __future__ import annotations

import sys
from typing import Any

from rsdecode.cli.main import main as rsd
from rsdecode.config import build
from rsdecode.core.protocols import Models
from rsdecode.evals.memory import remembering


def main() -> None:
    """The command line."""
    load = build.build_models
    loaded: list[Models] = []

    def shared(*args: Any, **kwargs: Any) -> Models:
        loaded.append(load(*args, **kwargs))
        return remembering(loaded[-1])

    build.build_models = shared
    try:
        code = rsd(["eval", *sys.argv[1:]])
    finally:
        for models in loaded:
            models.close()
    sys.exit(code)


if __name__ == "__main__":
    main()
