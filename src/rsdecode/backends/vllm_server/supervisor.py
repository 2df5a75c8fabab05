"""Runs a command and makes sure that nothing of it outlives the process that wanted it.

    python -IS supervisor.py LOG GRACE -- COMMAND...

A program of its own that needs only the standard library. It starts the command at the head of a
new process group, its output in LOG, and prints `started PID` and, once it has ended and nothing of
its group is left, `ended CODE` (negative for a signal); `failed REASON` if it cannot be started.

It holds the reading end of a pipe, its standard input, that the other side never writes to. The
pipe closes when that side closes it or ends in any way, `kill -9` included; then the group is
asked to end (SIGTERM), and after GRACE seconds is made to (SIGKILL). A process that was forked off
the other side may hold the pipe open, so the parent's id is watched as well. Should the supervisor
itself be killed, Linux kills the command (PR_SET_PDEATHSIG), whose helpers end with it. What the
command orphans becomes the supervisor's child (PR_SET_CHILD_SUBREAPER), so that it is waited for.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time

TICK_S = 0.1
IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


def main(log: str, grace_s: float, command: list[str]) -> int:
    """Run the command until it ends or nobody wants it any more; returns the exit code."""
    for ignored in IGNORED:
        signal.signal(ignored, signal.SIG_IGN)  # the pipe alone says when to stop
    parent = os.getppid()
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    try:
        with open(log, "ab", buffering=0) as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_in_child,  # noqa: PLW1509 - there are no threads here
            )
    except OSError as error:
        _say(f"failed {error.strerror or error}")
        return 127
    _say(f"started {process.pid}")
    while _reap(process) is None and _wanted(parent):
        pass
    _end_group(process, grace_s)
    _say(f"ended {process.returncode}")
    return 0


def _in_child() -> None:
    """What the command must not inherit: our ignored signals, and a life without us."""
    for ignored in IGNORED:
        signal.signal(ignored, signal.SIG_DFL)
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _wanted(parent: int) -> bool:
    """Wait a moment; False once the pipe is closed or the parent has gone."""
    readable, _, _ = select.select([0], [], [], TICK_S)
    return os.getppid() == parent and not (readable and not os.read(0, 1024))


def _end_group(process: subprocess.Popen[bytes], grace_s: float) -> None:
    """End whatever is left of the command's process group, and wait for it."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + grace_s
        _signal(process.pid, number)
        while time.monotonic() < deadline:
            _reap(process)
            if not _signal(process.pid, 0):
                return
            time.sleep(TICK_S / 4)


def _reap(process: subprocess.Popen[bytes]) -> int | None:
    """Take note of ended children, adopted orphans among them; the command's exit code."""
    with contextlib.suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            if found[0] == process.pid:
                process.returncode = os.waitstatus_to_exitcode(found[1])
    return process.returncode


def _signal(group: int, number: int) -> bool:
    """Send a signal to the group; False if nobody is left in it."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def _say(line: str) -> None:
    with contextlib.suppress(OSError):  # nobody may be listening any more
        os.write(1, f"{line}\n".encode())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], float(sys.argv[2]), sys.argv[4:]))
