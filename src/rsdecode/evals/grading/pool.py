"""Grading in processes of its own, each answer with a time limit."""

from __future__ import annotations

import asyncio
import json
import os
import queue
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from rsdecode.core.answer import extract_answer
from rsdecode.core.errors import ConfigError
from rsdecode.core.thoughts import THOUGHTS, Thoughts
from rsdecode.evals.grading.grade import grade_at_once
from rsdecode.evals.grading.notation import final_answer
from rsdecode.evals.grading.verdict import AnswerKind, Rule, Verdict

START_LIMIT_S = 120.0
"""How long a process may take to import sympy; not part of an answer's time."""


class GradingPool:
    """Grades answers; formulas in other processes, which start when the first one comes.

    What text and numbers decide is graded at once in the calling process. A process that does not
    reply in time is killed and replaced: that answer is wrong, by the rule `timeout`. One that
    dies (sympy used up its memory, or its stack) is replaced as well; the rule is `crash`.

    Use it as a context manager, or call `close`. It belongs to no event loop.

    Args:
        workers: processes; by default as many as cores, four at most.
        timeout_s: for one answer.
    """

    def __init__(self, workers: int | None = None, *, timeout_s: float = 10.0) -> None:
        if timeout_s <= 0 or (workers is not None and workers < 1):
            raise ConfigError(
                f"grading needs a time limit above 0 and a process at least, "
                f"not {timeout_s!r} s and {workers!r}"
            )
        count = workers or min(4, os.cpu_count() or 1)
        self._workers = [_Worker(timeout_s) for _ in range(count)]
        self._idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        for worker in self._workers:
            self._idle.put(worker)
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="rsd-grading")

    async def grade(
        self,
        text: str,
        reference: str,
        kind: AnswerKind = AnswerKind.MATH,
        thoughts: Thoughts = THOUGHTS,
    ) -> Verdict:
        """Whether the final answer of a text is the reference, and why (see `grade`).

        Raises:
            ConfigError: a formula is to be compared, and math-verify is not installed.
            RuntimeError: the pool is closed.
        """
        verdict = grade_at_once(text, reference, kind, thoughts)
        if verdict is not None:
            return verdict
        answer, wanted = extract_answer(text, thoughts) or "", final_answer(reference)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._compare, answer, wanted)

    def close(self) -> None:
        """End all processes; what is being compared fails."""
        for worker in self._workers:
            worker.stop()
        self._threads.shutdown(wait=True, cancel_futures=True)
        for worker in self._workers:
            worker.release()

    def __enter__(self) -> GradingPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _compare(self, answer: str, reference: str) -> Verdict:
        worker = self._idle.get()
        try:
            return worker.compare(answer, reference)
        finally:
            self._idle.put(worker)


class _Worker:
    """One process at a time, started when it is needed."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()
        self._closed = False

    def compare(self, answer: str, reference: str) -> Verdict:
        """Ask the process; a dead one makes a wrong verdict."""
        process = self._started()
        line = json.dumps({"answer": answer, "reference": reference})
        reply, timed_out = _ask(process, line, self._timeout_s)
        if reply is not None:
            return Verdict(**reply)
        self.release()
        if self._closed:
            raise RuntimeError("the grading pool was closed while it compared an answer")
        return Verdict(False, answer, reference, Rule.TIMEOUT if timed_out else Rule.CRASH)

    def stop(self) -> None:
        """Kill the process and start no other; from any thread."""
        with self._lock:
            self._closed = True
            if self._process is not None:
                self._process.kill()

    def release(self) -> None:
        """Kill the process and close its pipes; from the thread that asks it, or the last one."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            with suppress(OSError):  # what was not written yet has no reader any more
                process.communicate()

    def _started(self) -> subprocess.Popen[str]:
        with self._lock:
            if self._closed:
                raise RuntimeError("the grading pool is closed")
            if self._process is not None and self._process.poll() is None:
                return self._process
            self.release()
            process = self._process = _start(self._timeout_s)
        reply, _ = _ask(process, None, START_LIMIT_S)
        if reply is None or "error" in reply:
            self.release()
            message = "a grading process did not start" if reply is None else reply["error"]
            raise ConfigError(message)
        return process


def _start(timeout_s: float) -> subprocess.Popen[str]:
    paths = os.pathsep.join(path for path in sys.path if path)
    return subprocess.Popen(
        [sys.executable, "-m", "rsdecode.evals.grading.worker", str(timeout_s)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        encoding="utf-8",
        start_new_session=True,  # Ctrl-C is for us: it must not turn answers into crashes
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
    )


def _ask(
    process: subprocess.Popen[str], line: str | None, limit_s: float
) -> tuple[dict[str, Any] | None, bool]:
    """Write a line and read one; None if the process died, and whether the time was up."""
    assert process.stdin is not None
    assert process.stdout is not None
    timed_out = threading.Event()

    def end() -> None:
        timed_out.set()
        process.kill()

    timer = threading.Timer(limit_s, end)
    timer.daemon = True
    timer.start()
    try:
        if line is not None:
            process.stdin.write(line + "\n")
            process.stdin.flush()
        reply = process.stdout.readline()
    except (OSError, ValueError):  # it died, or was closed, while we wrote
        reply = ""
    finally:
        timer.cancel()
    return (json.loads(reply) if reply.endswith("\n") else None), timed_out.is_set()
