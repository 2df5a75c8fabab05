"""`rsd serve`: an OpenAI-compatible server."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Annotated, Any

import typer

from rsdecode.cli.messages import print_note, print_warning
from rsdecode.cli.options import RunOptions, with_run_options
from rsdecode.config import RunConfig
from rsdecode.core.errors import ConfigError


@with_run_options
def command(
    options: RunOptions,
    *,
    host: Annotated[
        str | None, typer.Option("--host", help="Address to listen on; default 127.0.0.1.")
    ] = None,
    port: Annotated[
        int | None, typer.Option("--port", help="Default 8000; 0 for any that is free.")
    ] = None,
    keys: Annotated[
        Path | None,
        typer.Option("--keys", help="API keys, a label and a key a line; also RSD_API_KEYS."),
    ] = None,
    allow_public: Annotated[
        bool, typer.Option("--allow-public", help="Listen on a public address without keys.")
    ] = False,
    cors: Annotated[
        list[str] | None,
        typer.Option("--cors", help="Origin whose pages may ask; may be given several times."),
    ] = None,
    storage: Annotated[
        Path | None, typer.Option("--storage", help="Folder for trajectories shared by link.")
    ] = None,
    queue: Annotated[
        int | None, typer.Option("--queue", help="Answers that may wait; default 256.")
    ] = None,
    ignore_seed: Annotated[
        bool, typer.Option("--ignore-seed", help="A new seed for every request, sent or not.")
    ] = False,
) -> int:
    """Serve RSD to OpenAI's clients, with a page to watch it.

    Exit code: 0 ended by SIGTERM, once running answers were done; 2 the options, the configuration
    or a model are wrong; 130 interrupted.
    """
    given: dict[str, Any] = {
        "host": host,
        "port": port,
        "keys": None if keys is None else str(keys),
        "allow_public": allow_public or None,
        "cors": cors or None,
        "storage": None if storage is None else str(storage),
        "queue": queue,
        "ignore_seed": ignore_seed or None,
    }
    names = {f"server.{name}": f"--{name.replace('_', '-')}" for name in given}
    settings = {f"server.{name}": value for name, value in given.items() if value is not None}
    return serve_models(options.load(settings, names))


def serve_models(config: RunConfig) -> int:
    """Load the models, and serve them until the process is told to end."""
    for library in ("fastapi", "uvicorn", "prometheus_client"):
        try:
            importlib.import_module(library)
        except ImportError:
            raise ConfigError(
                f"rsd serve needs {library}, which is not installed: pip install 'rsdecode[server]'"
            ) from None
    from rsdecode.cli.runtime import loaded
    from rsdecode.server.logs import start_logging
    from rsdecode.server.service import Service
    from rsdecode.server.serving import address_of, listen, read_keys, serve
    from rsdecode.server.tracing import start_tracing

    keys, tracing = read_keys(config.server), start_tracing()
    if not keys and config.server.allow_public:
        print_warning("there is no API key: whoever reaches this address may ask")
    with listen(config.server) as listening, loaded(config) as runtime:
        address = address_of(listening)
        start_logging()

        def tell() -> None:
            print_note(f"rsd serve: {address}/v1 (the page is at {address}/)")

        serve(Service(config, runtime.models), keys, listening, tell, tracing)
    return 0
