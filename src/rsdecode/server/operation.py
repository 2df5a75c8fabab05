"""For whoever runs the server: `/health`, `/ready` and `/metrics`."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import replace

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST

from rsdecode.core.types import Message
from rsdecode.server.errors import ApiError, unavailable
from rsdecode.server.requests import SamplingRequest
from rsdecode.server.service import Service

router = APIRouter()
TRY_EVERY_S = 2.0


@router.get("/health")
async def health() -> dict[str, str]:
    """Whether the process answers."""
    return {"status": "ok"}


@router.get("/ready")
async def ready(request: Request) -> Response:
    """Whether requests can be answered: 503 while the server ends, or while a model is down."""
    service: Service = request.app.state.service
    service.check_ready()
    if service.health.should_try(TRY_EVERY_S):
        await _try_again(service)
    if (failure := service.health.failure) is not None:
        raise unavailable(f"a model does not answer: {failure}")
    return JSONResponse({"status": "ready"})


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """Counters, in the format of Prometheus."""
    service: Service = request.app.state.service
    return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)


async def _try_again(service: Service) -> None:
    """Ask a model that has failed for a token, to see whether it is back."""
    body = SamplingRequest(model="rsd", seed=0)
    ask = service.understand(body, [Message("user", "1 + 1 = ?")], {}, max_tokens=1)
    try:
        async with aclosing(service.answer(replace(ask, count=1))) as parts:
            async for _ in parts:
                pass
    except ApiError as error:
        service.health.broke(str(error))
