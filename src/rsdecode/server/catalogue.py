"""What there is: `GET /v1/models`, and `GET /rsd/info` for the page."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from rsdecode import __version__
from rsdecode.core.types import Role
from rsdecode.server.errors import ApiError
from rsdecode.server.method_choice import Changes
from rsdecode.server.requests import RsdOptions
from rsdecode.server.service import Service

router = APIRouter()
EXAMPLES = 5
FAMILY_NOTE = (
    "The embedded models only solve word problems like the examples; they are small, and made to "
    "show how RSD works. Start the server with models of your own for anything else."
)


@router.get("/v1/models")
async def models(request: Request) -> dict[str, Any]:
    """Models' names: methods, by which one client compares them."""
    service: Service = request.app.state.service
    return {"object": "list", "data": [_model(service, name) for name in service.chooser.names]}


@router.get("/v1/models/{model:path}")
async def model(model: str, request: Request) -> dict[str, Any]:
    """One model; any method's name is one."""
    service: Service = request.app.state.service
    service.chooser.choose(model, RsdOptions(), Changes())
    return _model(service, model)


@router.get("/rsd/info")
async def info(request: Request) -> dict[str, Any]:
    """What the page needs to know."""
    service: Service = request.app.state.service
    config, chooser = service.config, service.chooser
    specs = {"draft": config.draft, "target": config.target, "reward": config.reward.spec}
    used = {role: specs[role.value] for role in Role if role in config.roles}
    family = bool(config.family_writers)
    try:
        threshold = chooser.choose("rsd", RsdOptions(), Changes()).threshold
    except ApiError:
        threshold = None
    return {
        "version": __version__,
        "models": used,
        "names": {role: _short(spec) for role, spec in used.items()},
        "methods": chooser.methods,
        "method": chooser.default,
        "threshold": threshold,
        "weighting": config.weighting.kind,
        "max_tokens": config.limits.max_tokens,
        "storage": config.server.storage is not None,
        "auth": bool(request.app.state.keys),
        "note": FAMILY_NOTE if family else None,
        "examples": _examples() if family else [],
    }


def _model(service: Service, name: str) -> dict[str, Any]:
    return {
        "id": name,
        "object": "model",
        "created": service.started,
        "owned_by": "rsdecode",
        "root": name,
        "parent": None,
        "max_model_len": service.max_context,
    }


def _short(spec: str) -> str:
    """The last part of a spec: the name of its folder, file or served model."""
    return spec.rstrip("/").rpartition("#")[2].rpartition("/")[2]


def _examples() -> list[str]:
    from rsdecode.models.abacus import problems

    return [problem.question for problem in problems("test", limit=EXAMPLES)]
