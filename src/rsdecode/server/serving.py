"""Runs the server until it is told to end."""

from __future__ import annotations

import gc
import ipaddress
import logging
import signal
import socket
import time
from collections.abc import Callable

import uvicorn

from rsdecode.config.running import ServerConfig
from rsdecode.core.errors import ConfigError
from rsdecode.server.app import create_app
from rsdecode.server.keys import Keys, load_keys
from rsdecode.server.service import Service
from rsdecode.server.tracing import Tracing

BACKLOG = 2048
LARGEST_HEADERS = 64 * 1024
GIVE_UP_S = 5
"""For answers that are given up to end, after the time in which they might have been finished."""


def read_keys(settings: ServerConfig) -> Keys:
    """The API keys; see that a server without any is not open to others.

    Raises:
        ConfigError: it would be, or the keys cannot be read.
    """
    keys = load_keys(settings.keys)
    if not keys and not settings.allow_public and not is_own(settings.host):
        raise ConfigError(
            f"--host {settings.host} lets others in, and there is no API key: give --keys FILE or "
            "RSD_API_KEYS, or --allow-public if that is meant"
        )
    return keys


def is_own(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def listen(settings: ServerConfig) -> socket.socket:
    """A socket at the address of the configuration.

    Raises:
        ConfigError: it cannot be had.
    """
    host, port = settings.host, settings.port
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {host}:{port} ({error.strerror or error}): choose another --port"
        ) from None
    return listening


def address_of(listening: socket.socket) -> str:
    """Where clients find the server."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(
    service: Service,
    keys: Keys,
    listening: socket.socket,
    started: Callable[[], object],
    tracing: Tracing | None = None,
) -> None:
    """Answer requests until SIGTERM or Ctrl-C; running answers are let end.

    Args:
        service: answers.
        keys: that let clients in.
        listening: where.
        started: called once requests are taken.
        tracing: makes spans of requests; None: no spans are made.
    """
    drain_s = service.settings.drain_s
    config = uvicorn.Config(
        create_app(service, keys, tracing),
        backlog=BACKLOG,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=int(drain_s) + GIVE_UP_S,
        h11_max_incomplete_event_size=LARGEST_HEADERS,
        http="h11",
        loop="auto",  # uvloop, but on Windows
        lifespan="on",
    )
    _Server(config, service, started).run(sockets=[listening])


class _Server(uvicorn.Server):
    """Refuses what is new as soon as it is told to end, and says when it is up."""

    def __init__(
        self, config: uvicorn.Config, service: Service, started: Callable[[], object]
    ) -> None:
        super().__init__(config)
        self._service = service
        self._told = started
        self._ending_since: float | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        gc.collect()
        gc.freeze()  # modules and models stay: no collection need look through them again
        if self.started:
            self._told()

    async def on_tick(self, counter: int) -> bool:
        if self._ending_since is not None:
            drain_s = self._service.settings.drain_s
            late = time.monotonic() - self._ending_since >= drain_s
            if late:
                self.config.timeout_graceful_shutdown = GIVE_UP_S
            if late or not self.server_state.tasks:
                self.should_exit = True
        return await super().on_tick(counter)

    def handle_exit(self, sig: int, frame: object) -> None:
        self._service.draining = True
        if sig != signal.SIGTERM:
            super().handle_exit(sig, frame)  # type: ignore[arg-type]
        elif self._ending_since is not None:
            self.should_exit = self.force_exit = True
            logging.getLogger("uvicorn.error").disabled = True  # of what is cut off now
        else:  # connections are still taken, to be told that the server ends
            self._ending_since = time.monotonic()
