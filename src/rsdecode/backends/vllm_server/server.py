"""A server process: started, watched, started once more if it dies, stopped."""

from __future__ import annotations

import asyncio
import http.client
import logging
import os
import socket
import threading
import time
from abc import ABC, abstractmethod
from enum import StrEnum
from http import HTTPStatus
from pathlib import Path
from typing import Protocol

from rsdecode.backends.vllm_server.command import HOST, arguments, environment
from rsdecode.backends.vllm_server.placement import ServerPlan
from rsdecode.backends.vllm_server.process import Process
from rsdecode.core.errors import ModelLoadError

logger = logging.getLogger(__name__)

RESTARTS = 1
PORT_TRIES = 3
_TICK_S = 0.2
_NOTICE_S = 2.0
_PORT_TAKEN = "address already in use"


class Watcher(Protocol):
    """Is told what servers do, from any thread."""

    def status(self, text: str) -> None:
        """What is going on; the next one replaces it."""
        ...

    def note(self, text: str) -> None:
        """Something that has happened."""
        ...

    def warning(self, text: str) -> None:
        """Something bad that has happened, and was repaired."""
        ...


class LogWatcher:
    """Tells the log of the library."""

    def status(self, text: str) -> None:
        """Nothing: it is about the moment."""

    def note(self, text: str) -> None:
        """At level INFO."""
        logger.info("%s", text)

    def warning(self, text: str) -> None:
        """At level WARNING."""
        logger.warning("%s", text)


class State(StrEnum):
    """Where a server is in its life."""

    STARTING = "starting"
    READY = "ready"
    FAILED = "failed"
    CLOSED = "closed"


class ServerProcess(ABC):
    """A process that serves a model, and the thread that watches it.

    After a crash it is started once more at the same address; when that one ends too, it stays down
    and `error` says why.

    Args:
        name: that it serves the model under.
        what: it is, for messages.
        log: file for its output.
        watcher: is told of crashes.
        ready_timeout_s: how long a start may take.
    """

    tick_s = _TICK_S

    def __init__(
        self, name: str, what: str, log: Path, watcher: Watcher, ready_timeout_s: float
    ) -> None:
        self.name = name
        self.log = log
        self.epoch = 0
        self.error: ModelLoadError | None = None
        self.state = State.STARTING
        self.since = time.monotonic()
        self._what = what
        self._watcher = watcher
        self._ready_timeout_s = ready_timeout_s
        self._port = free_port()
        self._closing = threading.Event()
        self._process: Process | None = None
        self._thread = threading.Thread(target=self._live, name=f"server-{name}", daemon=True)

    @abstractmethod
    def command(self, port: int) -> list[str]:
        """What is run to serve at `port`."""

    @abstractmethod
    def environment(self) -> dict[str, str]:
        """Variables that are added to this process's."""

    def hint(self, told: str) -> str:
        """A remedy, in parentheses, for what the log says; empty for none."""
        return ""

    @property
    def url(self) -> str:
        """The base URL of its OpenAI-compatible interface."""
        return f"http://{HOST}:{self._port}/v1"

    def start(self) -> None:
        """Begin to start; `state` tells when it is ready."""
        self._thread.start()

    def ask_to_stop(self) -> None:
        """Begin to stop; returns at once."""
        self._closing.set()
        if self._process is not None:
            self._process.ask_to_stop()

    def close(self) -> None:
        """Stop, and wait until no process is left. Safe to call twice."""
        self.ask_to_stop()
        if self._thread.ident is not None:
            self._thread.join()
        self.state = State.CLOSED

    def progress(self) -> str:
        """Where the start is, in a few words."""
        lines = self._process.last_lines() if self._process is not None else []
        last = f": {lines[-1][-60:]}" if lines else ""
        return f"{self.name} {time.monotonic() - self.since:.0f} s{last}"

    async def came_back(self, epoch: int) -> bool:
        """Whether a request that failed in `epoch` is worth repeating, once the server is up again.

        A death takes a moment to be noticed, meanwhile the port may still accept connections; then
        it takes the time of a start.
        """
        noticed = time.monotonic() + _NOTICE_S
        while self.epoch == epoch and self.state is State.READY:
            await asyncio.sleep(_TICK_S)
            if time.monotonic() > noticed:
                return False
        while self.state is State.STARTING:
            await asyncio.sleep(_TICK_S)
        return self.state is State.READY

    def _live(self) -> None:
        """The watching thread: all starts of the server, until it is closed or stays down."""
        tries = 1
        while not self._closing.is_set():
            ending = self._run()
            if self._closing.is_set():
                break
            report = self._report(ending)
            first = self.state is State.STARTING and self.epoch == 0
            if first and _PORT_TAKEN in report.lower() and tries < PORT_TRIES:
                tries += 1
                self._port = free_port()
                continue
            if first or self.epoch >= RESTARTS:
                self.error = ModelLoadError(report)
                self.state = State.FAILED
                return
            self.since = time.monotonic()
            self.epoch, self.state = self.epoch + 1, State.STARTING
            self._watcher.warning(f"{report}; starting it once more")
        self.state = State.CLOSED

    def _run(self) -> str:
        """One process from its start to its end; how it ended."""
        process = Process(self.command(self._port), self.environment(), self.log)
        self._process = process
        deadline = time.monotonic() + self._ready_timeout_s
        try:
            while not self._closing.is_set():
                if (ending := process.ended(self.tick_s)) is not None:
                    return ending
                if self.state is State.STARTING and self._healthy():
                    self.state = State.READY
                if self.state is State.STARTING and time.monotonic() > deadline:
                    return f"because it was not ready after {self._ready_timeout_s:.0f} s"
            return "because it was closed"
        finally:
            process.stop()

    def _report(self, ending: str) -> str:
        lines = self._process.last_lines() if self._process is not None else []
        told = " | ".join(lines) or "nothing"
        return f"{self._what} ended {ending}; its log ({self.log}) says: {told}{self.hint(told)}"

    def _healthy(self) -> bool:
        connection = http.client.HTTPConnection(HOST, self._port, timeout=5)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


class Server(ServerProcess):
    """A vLLM process and the thread that watches it.

    Args:
        plan: where and how.
        executable: the `vllm` command.
        log: file for its output.
        watcher: is told of crashes.
        ready_timeout_s: how long a start may take.
    """

    def __init__(
        self,
        plan: ServerPlan,
        executable: str,
        log: Path,
        watcher: Watcher,
        ready_timeout_s: float = 1800.0,
    ) -> None:
        what = f"the vLLM server of {plan.spec.name} ({plan.spec.model})"
        super().__init__(plan.spec.name, what, log, watcher, ready_timeout_s)
        self.plan = plan
        self._executable = executable

    def command(self, port: int) -> list[str]:
        """See `ServerProcess`."""
        return [self._executable, *arguments(self.plan, port)]

    def environment(self) -> dict[str, str]:
        """See `ServerProcess`."""
        return environment(self.plan, os.environ)

    def hint(self, told: str) -> str:
        """See `ServerProcess`."""
        if self.plan.spec.footprint.architecture in told and "not supported" in told:
            return " (rsdecode teaches it to vLLM where both are in one environment)"
        return ""


def free_port() -> int:
    """A port that nobody listens at now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
