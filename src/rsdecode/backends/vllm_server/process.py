"""One run of a command under the supervisor, and what its log says."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from rsdecode.backends.vllm_server import supervisor

LAST_LINES = 6
GRACE_S = 8.0
"""What vLLM is given to end by itself."""
_TAIL_BYTES = 65536
_NO_ERROR = re.compile(r"\b(?:DEBUG|INFO|WARNING)\b")
_NAMED_ERROR = re.compile(r"\b[A-Z]\w*(?:Error|Exception|Interrupt)\b: ")


class Process:
    """A supervised command; it ends with this object's pipe, and so with this process.

    Args:
        command: with its arguments.
        environment: added to this process's.
        log: gets the command's output, after what it holds.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self._log = log
        self._log_start = log.stat().st_size if log.exists() else 0
        self._supervisor = subprocess.Popen(
            [sys.executable, "-IS", supervisor.__file__, str(log), str(GRACE_S), "--", *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **environment},
            start_new_session=True,  # Ctrl-C reaches us alone, and we decide
        )
        self._said: list[str] = []

    def ended(self, timeout_s: float) -> str | None:
        """Wait for the end; how it ended ("with exit code 1"), or None if it goes on."""
        try:
            self._supervisor.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None
        self._listen()
        said = self._said[-1] if self._said else ""
        word, _, rest = said.partition(" ")
        match word:
            case "ended":
                return _ending(int(rest))
            case "failed":
                return f"before it began ({rest})"
            case _:
                self._kill_group()
                return "with its supervisor, which was killed"

    def ask_to_stop(self) -> None:
        """Begin to stop; returns at once."""
        assert self._supervisor.stdin is not None
        with contextlib.suppress(OSError):
            self._supervisor.stdin.close()

    def stop(self) -> None:
        """Stop, and wait until nothing is left. Safe to call twice."""
        self.ask_to_stop()
        if self.ended(2 * GRACE_S + 4.0) is None:
            self._supervisor.kill()
            self.ended(1.0)

    def last_lines(self) -> list[str]:
        """The end of the log of this run, after the first error that it names."""
        try:
            with self._log.open("rb") as file:
                size = self._log.stat().st_size
                file.seek(max(self._log_start, size - _TAIL_BYTES))
                text = file.read().decode("utf-8", "replace")
        except OSError:
            return []
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        cause = next((s for s in lines if _NAMED_ERROR.search(s) and not _NO_ERROR.search(s)), None)
        last = lines[-LAST_LINES:]
        return last if cause is None or cause in last else [cause, "...", *last]

    def _listen(self) -> None:
        """Read what the supervisor said; it has ended."""
        stream = self._supervisor.stdout
        if stream is not None and not stream.closed:
            self._said += stream.read().decode().splitlines()
            stream.close()

    def _kill_group(self) -> None:
        for line in self._said:
            word, _, rest = line.partition(" ")
            if word == "started":
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(int(rest), signal.SIGKILL)


def _ending(code: int) -> str:
    if code >= 0:
        return f"with exit code {code}"
    with contextlib.suppress(ValueError):
        return f"by {signal.Signals(-code).name}"
    return f"by signal {-code}"
