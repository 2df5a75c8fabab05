"""The server as an application of Ray Serve: a front, and replicas of each model.

The front is the whole server, with its sessions; models are stateless behind it. It is the only
one that clients talk to. `build` is what Serve's configuration files name.
"""

from __future__ import annotations

from typing import Any, cast

from pydantic import ValidationError
from ray import serve
from ray.serve.config import RequestRouterConfig
from starlette.types import ASGIApp

from rsdecode.config import RunConfig
from rsdecode.config.build import ModelBuilder, build_method
from rsdecode.config.methods import check_models
from rsdecode.config.running import RayReplicasConfig
from rsdecode.config.specs import SpecKind, parse_model_spec, parse_reward_spec
from rsdecode.core.errors import ConfigError
from rsdecode.core.protocols import LanguageModel, Models
from rsdecode.core.types import Role
from rsdecode.distributed.remote import remote_model
from rsdecode.distributed.replicas import ModelReplica
from rsdecode.distributed.serve_replicas import ServeReplicas
from rsdecode.distributed.worker import check_version
from rsdecode.results.code_version import code_version
from rsdecode.server.app import create_app
from rsdecode.server.service import Service
from rsdecode.server.serving import read_keys

NAME = "rsdecode"
FRONT = "front"
ROUTER = "ray.serve.experimental.consistent_hash_router.ConsistentHashRouter"
"""Sends all calls with one session id to the same replica, for as long as it lives."""
DRAIN_S = 120.0
"""What a replica that is taken away may still take for the steps under way."""
OFTEN_S = 2.0
"""Between two looks at the health of a replica."""


def deployed_roles(config: RunConfig) -> list[Role]:
    """The models that get replicas of their own.

    Models behind endpoints are reached from the front, and so are rewards that only read the draft
    or the target, or are a rule.
    """
    specs = {Role.DRAFT: config.draft, Role.TARGET: config.target}
    roles = [
        role
        for role, spec in specs.items()
        if role in config.models_needed and parse_model_spec(spec).kind is not SpecKind.HTTP
    ]
    if Role.REWARD in config.models_needed:
        reward = parse_reward_spec(config.reward.spec)
        here = (SpecKind.HTTP, SpecKind.ARITHMETIC, SpecKind.PYTHON)
        if not reward.reads and any(part.kind not in here for part in reward.parts):
            roles.append(Role.REWARD)
    return roles


class Front:
    """The server that clients talk to; Serve asks it for the application.

    Args:
        config: of the run and the server, as `RunConfig.model_dump` gives it.
        code: version of the code of whoever deploys.
        handles: of the models' deployments, by role.
    """

    async def __init__(self, config: dict[str, Any], code: str, **handles: Any) -> None:
        check_version(code)
        settings = RunConfig.model_validate(config)
        remote: dict[Role, Any] = {}
        for name, handle in handles.items():
            replicas = ServeReplicas(handle)
            remote[Role(name)] = remote_model(Role(name), replicas, await replicas.facts())
        models = _models(settings, remote)
        check_models(settings, build_method(settings), models)
        self._service = Service(settings, models)
        self._keys = read_keys(settings.server)

    def __serve_build_asgi_app__(self) -> ASGIApp:
        """For Serve: the application."""
        return create_app(self._service, self._keys)


def _models(config: RunConfig, remote: dict[Role, Any]) -> Models:
    """The remote models, and what the front reaches by itself."""
    needed = config.models_needed
    writers: dict[Role, LanguageModel] = {r: m for r, m in remote.items() if r is not Role.REWARD}
    builder = ModelBuilder(config, needed - set(remote), given=writers)
    for role in (Role.DRAFT, Role.TARGET):
        if role in needed and role not in writers:
            writers[role] = builder.writer(role)
    reward = remote.get(Role.REWARD)
    if reward is None and Role.REWARD in needed:
        reward = ModelBuilder(config, {Role.REWARD}, given=writers).reward()
    return Models(writers.get(Role.DRAFT), writers.get(Role.TARGET), reward)


def build(args: dict[str, Any]) -> serve.Application:
    """The application.

    Args:
        args: `config`, a configuration as in a file of `rsd serve --config`.

    Raises:
        ConfigError: the configuration is wrong.
    """
    try:
        config = RunConfig.model_validate(args["config"])
    except (KeyError, ValidationError) as error:
        raise ConfigError(f"args of rsdecode's application: {error}") from None
    settings, code = config.model_dump(mode="json", exclude_unset=True), code_version()
    deployment = cast(Any, serve.deployment)  # typed as a function that takes functions
    router = cast(Any, RequestRouterConfig)
    sticky = router(request_router_class=ROUTER)
    model = deployment(ModelReplica).options(request_router_config=sticky)
    models: dict[str, Any] = {
        role.value: model.options(**options_of(config, role)).bind(role.value, settings, code)
        for role in deployed_roles(config)
    }
    front = deployment(serve.ingress()(Front)).options(**options_of(config, FRONT))
    return front.bind(settings, code, **models)


def options_of(config: RunConfig, name: str) -> dict[str, Any]:
    """How a deployment is run, in the terms of Serve's configuration files.

    Args:
        config: of the run.
        name: of the deployment: `front` or a role.
    """
    name = str(name)
    wanted: RayReplicasConfig = getattr(config.ray, name)
    at_once = config.run.concurrency + config.server.queue
    # the front refuses what is too much itself; models let it wait in their engines
    most = at_once + 256 if name == FRONT else max(4 * config.engine.slots, 2 * at_once)
    options: dict[str, Any] = {
        "name": name,
        "max_ongoing_requests": most,
        "graceful_shutdown_timeout_s": config.server.drain_s + 5 if name == FRONT else DRAIN_S,
        "graceful_shutdown_wait_loop_s": 0.5,
        "health_check_period_s": OFTEN_S,
        "ray_actor_options": {
            "num_cpus": wanted.cpus,
            "num_gpus": wanted.gpus,
            "resources": dict(wanted.resources),
        },
    }
    if wanted.most is None:
        return options | {"num_replicas": wanted.replicas}
    scaling = {
        "min_replicas": wanted.replicas,
        "max_replicas": wanted.most,
        "target_ongoing_requests": wanted.requests,
    }
    return options | {"autoscaling_config": scaling}


def needs(config: RunConfig, *, most: bool = False) -> dict[str, float]:
    """What all replicas take together: processor cores, GPUs and custom resources.

    Args:
        config: of the run.
        most: as many as load may make of them, instead of those at the start.
    """
    total: dict[str, float] = {}
    for name in (FRONT, *(role.value for role in deployed_roles(config))):
        wanted: RayReplicasConfig = getattr(config.ray, name)
        count = max(wanted.replicas, wanted.most or 0) if most else wanted.replicas
        for of, share in {"CPU": wanted.cpus, "GPU": wanted.gpus, **wanted.resources}.items():
            total[of] = total.get(of, 0.0) + count * share
    return total


def serve_config(config: RunConfig) -> dict[str, Any]:
    """A file for `serve deploy`, in Serve's own format."""
    names = [FRONT, *(role.value for role in deployed_roles(config))]
    return {
        "proxy_location": "EveryNode",
        "http_options": {"host": config.server.host, "port": config.server.port},
        "applications": [
            {
                "name": NAME,
                "route_prefix": "/",
                "import_path": f"{__name__}:build",
                "args": {"config": config.model_dump(mode="json", exclude_unset=True)},
                "deployments": [options_of(config, name) for name in names],
            }
        ],
    }
