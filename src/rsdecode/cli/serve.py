"""`rsd serve`: an OpenAI-compatible server."""

from __future__ import annotations

import importlib
import json
from functools import partial
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
    ray: Annotated[
        str | None,
        typer.Option(
            "--ray",
            metavar="ADDRESS|local",
            help="On Ray Serve, with replicas of each model; local: on this machine's cores.",
        ),
    ] = None,
    json_output: Annotated[
        bool, typer.Option("--json", help="Once it is ready, its addresses as one JSON object.")
    ] = False,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="With --ray: print a file for `serve deploy`.")
    ] = False,
) -> int:
    """Serve RSD to OpenAI's clients, with a page to watch it.

    Exit code: 0 ended by SIGTERM, once running answers were done; 2 the options, the configuration
    or a model are wrong; 130 interrupted.
    """
    from rsdecode.cli.runtime import with_one_sample

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
    config = with_one_sample(options.load(settings, names), "clients ask for several answers by n")
    if ray == "--print-config":  # the address may be left out before it
        ray, print_config = "local", True
    if ray is None and print_config:
        raise ConfigError("--print-config prints a file for Ray Serve: it needs --ray")
    if ray is None:
        return serve_models(config, as_json=json_output)
    if print_config:
        return print_serve_config(config)
    return serve_replicas(config, ray, as_json=json_output)


def print_serve_config(config: RunConfig) -> int:
    """Print the deployment in the format of Ray Serve's configuration files."""
    _check_installed("rsd serve --ray", "ray-serve", "fastapi", "ray", "ray.serve")
    import yaml

    from rsdecode.server.ray_app import serve_config

    print(yaml.safe_dump(serve_config(config), sort_keys=False, allow_unicode=True), end="")
    return 0


def serve_replicas(config: RunConfig, address: str, *, as_json: bool) -> int:
    """Deploy on Ray Serve, and take it away again when the process is told to end."""
    _check_installed("rsd serve --ray", "ray-serve", "fastapi", "ray", "ray.serve")
    from rsdecode.cli.runtime import tell_warnings
    from rsdecode.distributed.cluster import Cluster
    from rsdecode.server.on_ray import serve_on_ray
    from rsdecode.server.ray_app import needs

    tell_warnings(config)
    server = config.server
    at = f"http://{server.host}:{server.port}"
    if not server.port:
        raise ConfigError("--port 0: Ray Serve needs a port of its own, such as --port 8000")
    with Cluster(address, needs(config, most=True)["CPU"]) as cluster:
        cluster.check_room(needs(config))
        serve_on_ray(config, print_note, lambda: _tell_ready(at, as_json=as_json))
    return 0


def _tell_ready(address: str, *, as_json: bool) -> None:
    print_note(f"rsd serve: {address}/v1 (the page is at {address}/)")
    if as_json:
        print(json.dumps({"api": f"{address}/v1", "page": f"{address}/"}), flush=True)


def _check_installed(command: str, extra: str, *libraries: str) -> None:
    for library in libraries:
        try:
            importlib.import_module(library)
        except ImportError:
            raise ConfigError(
                f"{command} needs {library}, which is not installed: "
                f"pip install 'rsdecode[{extra}]'"
            ) from None


def serve_models(config: RunConfig, *, as_json: bool) -> int:
    """Load the models, and serve them until the process is told to end."""
    _check_installed("rsd serve", "server", "fastapi", "uvicorn", "prometheus_client")
    from rsdecode.cli.runtime import loaded
    from rsdecode.server.logs import start_logging
    from rsdecode.server.service import Service
    from rsdecode.server.serving import address_of, listen, read_keys, serve
    from rsdecode.server.tracing import start_tracing

    keys, tracing = read_keys(config.server), start_tracing()
    if (storage := config.server.storage) and Path(storage).expanduser().is_file():
        raise ConfigError(f"--storage {storage} is a file: name a folder for the trajectories")
    if not keys and config.server.allow_public:
        print_warning("there is no API key: whoever reaches this address may ask")
    with listen(config.server) as listening, loaded(config) as runtime:
        address = address_of(listening)
        start_logging()
        tell = partial(_tell_ready, address, as_json=as_json)
        serve(Service(config, runtime.models), keys, listening, tell, tracing)
    return 0
