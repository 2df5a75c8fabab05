"""`rsd eval` with its peak memory, and with greedy replies shared between the methods.

    python -m benchmarks.sweep --methods rsd@0.6,rsd@0.8 (and all other options of rsd eval)
    python -m benchmarks.sweep --no-share --methods draft,target,rsd ...

Shared as `rsd demo` and `rsd tune` share them, so that thresholds cost little: a reply carries the
usage that it had the first time, so tokens and FLOPs are those of each method alone, and seconds
are not. What was interrupted goes on, and shares nothing with what was done before. `--no-share` is
`rsd eval` itself. The last line on stderr is the peak memory of all its processes.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import Any

from benchmarks.gguf import peak_mib
from rsdecode.cli.main import main as rsd
from rsdecode.config import build
from rsdecode.core.protocols import Models
from rsdecode.evals.memory import remembering

EVERY_S = 0.5


class Peak(threading.Thread):
    """Watches the memory of this process and of those that it started."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.mib = 0.0
        self._over = threading.Event()

    def run(self) -> None:
        """Look until it is over; a process that ends meanwhile is looked at again."""
        while not self._over.wait(EVERY_S):
            try:
                self.mib = max(self.mib, peak_mib(os.getpid()))
            except (OSError, StopIteration):
                continue

    def end(self) -> None:
        """No more."""
        self._over.set()
        self.join()


def main() -> None:
    """The command line."""
    arguments, loaded = sys.argv[1:], list[Models]()
    load, peak = build.build_models, Peak()

    def shared(*args: Any, **kwargs: Any) -> Models:
        loaded.append(load(*args, **kwargs))
        return remembering(loaded[-1])

    if "--no-share" in arguments:
        arguments.remove("--no-share")
    else:
        build.build_models = shared
    peak.start()
    try:
        code = rsd(["eval", *arguments])
    finally:
        peak.end()
        for models in loaded:
            models.close()
    print(f"peak memory: {peak.mib:,.0f} MiB", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
