"""A process that compares formulas: lines of JSON in, lines of JSON out.

`python -m rsdecode.evals.grading.worker LIMIT_S`. It reads `{"answer", "reference"}` and writes a
verdict. It ends with its input; if it hangs and nobody is left to end it, an alarm does.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import suppress
from dataclasses import asdict

from rsdecode.core.errors import ConfigError
from rsdecode.evals.grading.grade import grade_formula
from rsdecode.evals.grading.symbolic import load_math_verify

MEMORY_BYTES = 4 * 2**30
"""Address space of a worker: a tower of powers must not take the machine's memory."""


def main() -> None:
    """Serve until the input ends."""
    limit_s = float(sys.argv[1])
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints is not a reply
    _limit_memory()
    try:
        load_math_verify()
    except ConfigError as error:
        print(json.dumps({"error": str(error)}), file=replies, flush=True)
        return
    print(json.dumps({"ready": True}), file=replies, flush=True)
    for line in sys.stdin:
        _set_alarm(limit_s + 5)
        request = json.loads(line)
        verdict = grade_formula(request["answer"], request["reference"])
        _set_alarm(0)
        print(json.dumps(asdict(verdict)), file=replies, flush=True)


def _limit_memory() -> None:
    with suppress(ImportError, OSError, ValueError):
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        if hard != resource.RLIM_INFINITY and hard < MEMORY_BYTES:
            return
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, hard))


def _set_alarm(seconds: float) -> None:
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)  # nobody catches it: the process ends


if __name__ == "__main__":
    main()
