"""All vLLM servers of a run: started in turn where they share a device, stopped together."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from rsdecode.backends.vllm_server.placement import ServerPlan
from rsdecode.backends.vllm_server.server import Server, State, Watcher
from rsdecode.core.errors import ModelLoadError

_TICK_S = 0.2


class Fleet:
    """Carries out a plan.

    Servers that share a GPU start one after the other: each measures the memory that is free when
    it starts. The logs are in a folder of the run's own, which is deleted when all went well, or
    in the folder that is asked for.

    Args:
        plans: one for each server.
        executable: the `vllm` command.
        watcher: is told of progress and crashes.
        logs: folder for `NAME.log`.
        ready_timeout_s: how long the start of one server may take.
    """

    def __init__(
        self,
        plans: Sequence[ServerPlan],
        executable: str,
        watcher: Watcher,
        *,
        logs: Path | None = None,
        ready_timeout_s: float = 1800.0,
    ) -> None:
        self._own_logs = logs is None
        self._logs = Path(tempfile.mkdtemp(prefix="rsd-vllm-")) if logs is None else logs
        self._logs.mkdir(parents=True, exist_ok=True)
        self._watcher = watcher
        self._servers = {
            plan.spec.name: Server(
                plan,
                executable,
                self._logs / f"{plan.spec.name}.log",
                watcher,
                ready_timeout_s,
            )
            for plan in plans
        }

    def server(self, name: str) -> Server:
        """The server of that name."""
        return self._servers[name]

    def start(self) -> None:
        """Start all servers and wait until they are ready.

        Raises:
            ModelLoadError: one cannot be started; the others are stopped.
        """
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def _start(self) -> None:
        waiting = list(self._servers.values())
        starting: list[Server] = []
        while waiting or starting:
            busy = {place for server in starting for place in server.plan.places}
            for server in [s for s in waiting if not busy & s.plan.places]:
                if busy & server.plan.places:
                    continue
                busy |= server.plan.places
                waiting.remove(server)
                starting.append(server)
                server.since = time.monotonic()
                server.start()
            time.sleep(_TICK_S)
            for server in [s for s in starting if s.state is not State.STARTING]:
                if server.state is not State.READY:
                    raise server.error or ModelLoadError(f"{server.name} was closed")
                starting.remove(server)
                took = time.monotonic() - server.since
                self._watcher.note(f"{server.name}: vLLM is up at {server.url} after {took:.0f} s")
            if starting:
                told = " · ".join(server.progress() for server in starting)
                self._watcher.status(f"starting vLLM: {told}")

    def close(self) -> None:
        """Stop all servers and wait until no process is left. Safe to call twice."""
        for server in self._servers.values():
            server.ask_to_stop()
        for server in self._servers.values():
            server.close()
        well = all(s.error is None and s.epoch == 0 for s in self._servers.values())
        if self._own_logs and well:
            shutil.rmtree(self._logs, ignore_errors=True)
