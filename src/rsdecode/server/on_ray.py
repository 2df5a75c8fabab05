"""`rsd serve --ray`: the application on a cluster, until the command is told to end."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable
from typing import Any

from ray import serve

from rsdecode.config import RunConfig
from rsdecode.core.errors import ModelLoadError
from rsdecode.server.ray_app import NAME, build, deployed_roles
from rsdecode.server.serving import read_keys

LOOK_EVERY_S = 0.5
FAILED = "DEPLOY_FAILED"
"""The state of an application that will not come up."""


def serve_on_ray(
    config: RunConfig, tell: Callable[[str], None], started: Callable[[], None]
) -> None:
    """Deploy, and take it away again at SIGTERM or Ctrl-C; the cluster is connected already.

    Args:
        config: of the run and the server.
        tell: is told what is being done.
        started: called once requests are taken.

    Raises:
        ModelLoadError: the deployment failed, for instance as a model cannot be loaded.
    """
    read_keys(config.server)
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    ending = threading.Event()

    def end(*_: object) -> None:
        ending.set()

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        http = {"host": config.server.host, "port": config.server.port}
        serve.start(proxy_location="HeadOnly", http_options=http)
        settings = config.model_dump(mode="json", exclude_unset=True)
        names = ", ".join(["front", *deployed_roles(config)])
        tell(f"deploying on Ray Serve: {names}")
        application = serve.RunTarget(build({"config": settings}), NAME)
        serve.run_many([application], wait_for_applications_running=False)
        _wait_until_running(ending)
        if not ending.is_set():
            started()
        ending.wait()
    finally:
        serve.shutdown()
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait_until_running(ending: threading.Event) -> None:
    while not ending.wait(LOOK_EVERY_S):
        application: Any = serve.status().applications.get(NAME)
        state = "" if application is None else str(application.status.value)
        if state == "RUNNING":
            return
        if state == FAILED:
            raise ModelLoadError(_why(application))


def _why(application: Any) -> str:
    """One line of what Serve tells of a deployment that failed: the error itself."""
    texts = [str(application.message)]
    texts += [str(of.message) for of in application.deployments.values() if of.message]
    lines = [line.strip() for text in texts for line in text.splitlines()]
    ours = [line for line in lines if line.startswith("rsdecode.core.errors.")]
    if ours:
        return ours[-1].partition(": ")[2]
    return " ".join(lines)[-2000:]
