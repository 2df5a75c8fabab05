"""The application: endpoints, errors, and what stands in front of them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route
from starlette.types import ASGIApp

from rsdecode import __version__
from rsdecode.server import (
    catalogue,
    chat,
    completions,
    operation,
    page,
    responses,
    tokens,
    trajectories,
)
from rsdecode.server.errors import ApiError
from rsdecode.server.gate import Gate
from rsdecode.server.keys import Keys
from rsdecode.server.requests import described
from rsdecode.server.service import Service
from rsdecode.server.sse import ClientLeft
from rsdecode.server.tracing import Tracing

logger = logging.getLogger(__name__)
LEFT = 499


def create_app(service: Service, keys: Keys, tracing: Tracing | None = None) -> ASGIApp:
    """An ASGI application that answers with the models of a service.

    Args:
        service: answers; its session is closed when the application ends.
        keys: that let clients in.
        tracing: makes spans of requests; closed when the application ends. None: no spans.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        yield
        await service.close()
        if tracing is not None:
            await asyncio.to_thread(tracing.close)

    app = FastAPI(
        title="rsdecode",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.service = service
    app.state.keys = keys
    paths: set[str] = set()
    for module in (chat, completions, responses, catalogue, operation, page, tokens, trajectories):
        app.include_router(module.router)
        paths |= {route.path for route in module.router.routes if isinstance(route, Route)}
    _add_error_handlers(app)
    origins = service.settings.cors
    if origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=list(origins), allow_methods=["*"], allow_headers=["*"]
        )
    return Gate(
        app,
        keys=keys,
        max_body=service.settings.max_body_kib * 1024,
        metrics=service.metrics,
        known=lambda path: path if path in paths else "other",
        tracing=tracing,
    )


def _add_error_handlers(app: FastAPI) -> None:
    """Every error in OpenAI's form."""

    async def refused(_: Request, error: Exception) -> Response:
        assert isinstance(error, ApiError)
        return JSONResponse(error.body, error.status, headers=dict(error.headers))

    async def malformed(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return await refused(request, described(list(error.errors())))

    async def other(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        message = f"{request.method} {request.url.path[:200]}: {error.detail}"
        wrapped = ApiError(error.status_code, message, headers=dict(error.headers or {}))
        return await refused(request, wrapped)

    async def left(_: Request, __: Exception) -> Response:
        return Response(status_code=LEFT)

    app.add_exception_handler(ApiError, refused)
    app.add_exception_handler(RequestValidationError, malformed)
    app.add_exception_handler(HTTPException, other)
    app.add_exception_handler(ClientLeft, left)
