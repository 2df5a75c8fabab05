"""A Ray cluster, local or elsewhere, and workers on it."""

from __future__ import annotations

import logging
import math
import os
import signal
import socket
import sys
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TextIO, TypeVar, cast

from rsdecode.config import RunConfig
from rsdecode.core.errors import ConfigError
from rsdecode.distributed.crew import Crew, WorkerLost
from rsdecode.distributed.tasks import Shapes, TaskSettings
from rsdecode.distributed.worker import Worker
from rsdecode.results.code_version import code_version

logger = logging.getLogger(__name__)
LOCAL = "local"
CONNECT_S = 10.0
START = "start one with `ray start --head`, or use --ray local"
MODE, TOKEN = "RAY_AUTH_MODE", Path("~/.ray/auth_token")
"""Where there is a token, Ray (2.60) starts clusters that ask for it, but connects without it."""
Result = TypeVar("Result")


class Cluster:
    """A connection to Ray (use as a context manager).

    Args:
        address: of a cluster that runs (`auto`, `HOST:PORT`, `ray://HOST:PORT`), or `local` for
            one of this process's own on this machine.
        cpus: cores that a local one says it has at least, for replicas that share this machine's.

    Raises:
        ConfigError: Ray is not installed, or nothing answers at the address.
    """

    def __init__(self, address: str, cpus: float = 0.0) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        _check_reachable(address)
        try:
            import ray
        except ImportError:
            raise ConfigError("--ray needs Ray: pip install 'rsdecode[ray]'") from None
        self._ray: Any = ray
        ending = signal.getsignal(signal.SIGTERM)
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
        try:
            if address == LOCAL:
                # without an address Ray joins a cluster that it finds, or waits for a dead one
                cores = max(len(os.sched_getaffinity(0)), math.ceil(cpus))
                ray.init(address="local", num_cpus=cores, include_dashboard=False, **quiet)
            else:
                ray.init(address=address, **quiet)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise ConfigError(_no_cluster(address, error)) from None
        except Exception as error:
            if address != LOCAL:
                raise
            why = str(error).splitlines()[0]  # of a plain Exception: that a node timed out, say
            raise ConfigError(
                f"--ray local: Ray could not be started here ({why}): the machine may have too "
                "much to do; try again, or see /tmp/ray/session_latest/logs"
            ) from None
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, ending)  # Ray takes it, and would end at once
        self._output = sys.stdout
        sys.stdout = cast(TextIO, OursAlone(self._output))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ray.shutdown()
        sys.stdout = self._output

    def check_room(self, needs: Mapping[str, float]) -> None:
        """See that the cluster has so much of each resource; Ray itself would wait for more.

        Raises:
            ConfigError: it has not.
        """
        there = self._ray.cluster_resources()
        short = [name for name, need in needs.items() if there.get(name, 0.0) < need - 1e-9]
        if short:
            asked = ", ".join(f"{needs[name]:g} {name}" for name in short)
            has = ", ".join(f"{there.get(name, 0.0):g} {name}" for name in short)
            raise ConfigError(
                f"the replicas need {asked}, and the whole cluster has {has}: set replicas, cpus, "
                "gpus and resources of ray.front, ray.draft, ray.target and ray.reward, or add "
                "nodes"
            )

    def room(self, config: RunConfig) -> int:
        """How many workers the cluster has room for.

        Raises:
            ConfigError: for none.
        """
        wanted, there = config.ray, self._ray.cluster_resources()
        needs = {"CPU": wanted.cpus, "GPU": wanted.gpus, **wanted.resources}
        fits = [
            math.floor(there.get(name, 0.0) / need + 1e-9) for name, need in needs.items() if need
        ]
        count = min(fits)
        if count < 1:
            asked = ", ".join(f"{need:g} {name}" for name, need in needs.items() if need)
            has = ", ".join(f"{there.get(name, 0.0):g} {name}" for name in needs)
            raise ConfigError(
                f"a worker needs {asked}, and the whole cluster has {has}: set ray.cpus, ray.gpus "
                "or ray.resources, or add nodes"
            )
        return min(count, wanted.workers or count)

    def crew(
        self, config: RunConfig, tasks: Sequence[TaskSettings], tell: Callable[[str], None]
    ) -> Crew:
        """Workers for the tasks of a run.

        Args:
            config: of the run: which models each loads.
            tasks: all that they will be asked for.
            tell: is told when a worker is lost.
        """
        at_once = config.run.concurrency
        options: dict[str, Any] = {
            "num_cpus": config.ray.cpus,
            "num_gpus": config.ray.gpus,
            "resources": config.ray.resources,
            "max_concurrency": at_once + 4,
            # what Ray repeats by itself, it repeats without a word: the crew does it
            "max_restarts": 0,
            "max_task_retries": 0,
        }
        actor = self._ray.remote(Worker).options(**options)
        settings = config.model_dump(mode="json", exclude_unset=True)

        async def hire() -> RayMember:
            return RayMember(self._ray, actor.remote(settings, tuple(tasks), code_version()))

        return Crew(hire, self.room(config), at_once, tell)


class OursAlone:
    """Standard output without what Ray's threads print there, which would be between our lines.

    Ray (2.60) prints there that a worker has died, whatever `log_to_driver` says.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write what a thread of ours prints."""
        if threading.current_thread().name.startswith("ray_"):
            logger.debug("Ray: %s", text)
            return len(text)
        return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _check_reachable(address: str) -> None:
    """See that somebody listens; Ray itself would wait for minutes.

    Raises:
        ConfigError: nobody does.
    """
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdecimal():  # `local`, `auto`
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise ConfigError(f"{_nobody(address, error)}: {START}") from None


def _no_cluster(address: str, error: Exception) -> str:
    """Why there is no connection, and what to do."""
    why = _nobody(address, error)
    if MODE not in os.environ and TOKEN.expanduser().exists():
        return (
            f"{why}: if it runs, it asks for Ray's token, which Ray itself does not send unasked: "
            f"set {MODE}=token; else {START}"
        )
    return f"{why}: {START}"


def _nobody(address: str, error: Exception) -> str:
    return f"--ray {address}: no cluster answers there ({str(error).splitlines()[0]})"


class RayMember:
    """A worker in an actor (see `Member`)."""

    def __init__(self, ray: Any, actor: Any) -> None:
        self._ray = ray
        self._actor = actor

    async def load(self) -> None:
        """See `Member`."""
        await self._result(self._actor.load.remote())

    async def begin(self, task: TaskSettings) -> Shapes:
        """See `Member`."""
        return await self._result(self._actor.begin.remote(task))

    async def do(self, item: Any) -> Any:
        """See `Member`."""
        return await self._result(self._actor.do.remote(item))

    async def notes(self) -> tuple[str, ...]:
        """See `Member`."""
        return await self._result(self._actor.notes.remote())

    async def close(self) -> None:
        """See `Member`."""
        try:
            await self._result(self._actor.close.remote())
        finally:
            self._ray.kill(self._actor)

    async def _result(self, reference: Awaitable[Result]) -> Result:
        """What a call gives, or what it raised over there."""
        errors = self._ray.exceptions
        try:
            return await reference
        except errors.RayTaskError as error:
            cause = error.cause
            raise cause if isinstance(cause, Exception) else RuntimeError(str(error)) from None
        except errors.RayError as error:  # the actor, its node or its memory of the result is gone
            raise WorkerLost(str(error).strip().splitlines()[0]) from None
