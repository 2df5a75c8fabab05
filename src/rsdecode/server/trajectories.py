"""Trajectories that the page's users share by link, where a folder for them is configured."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response

from rsdecode.server.errors import ApiError, invalid
from rsdecode.server.service import Service

router = APIRouter()
FORMAT = "rsdecode.trajectory/1"
MOST_FILES = 10_000
_ID = re.compile(r"[0-9a-f]{32}")


@router.post("/rsd/trajectories")
async def keep(body: dict[str, Any], request: Request) -> dict[str, str]:
    """Keep a trajectory; its id is a digest of what it holds."""
    folder = _folder(request)
    if body.get("format") != FORMAT:
        raise invalid(f'a trajectory has "format": {FORMAT!r}', "format")
    try:
        text = json.dumps(body, sort_keys=True, allow_nan=False).encode()
    except ValueError as error:
        raise invalid(f"the trajectory is no JSON: {error}") from None
    name = hashlib.sha256(text).hexdigest()[:32]
    await asyncio.to_thread(_write, folder, name, text)
    return {"id": name}


@router.get("/rsd/trajectories/{name}")
async def give(name: str, request: Request) -> Response:
    """A trajectory that was kept."""
    path = _folder(request) / f"{name}.json"
    if not _ID.fullmatch(name) or not path.is_file():
        raise ApiError(404, "there is no such trajectory", code="not_found")
    return Response(await asyncio.to_thread(path.read_bytes), media_type="application/json")


def _folder(request: Request) -> Path:
    service: Service = request.app.state.service
    if service.settings.storage is None:
        raise ApiError(404, "this server keeps no trajectories (--storage)", code="not_found")
    return Path(service.settings.storage).expanduser()


def _write(folder: Path, name: str, text: bytes) -> None:
    """Write a file whole or not at all.

    Raises:
        ApiError: there is no room.
    """
    path = folder / f"{name}.json"
    if path.exists():
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if sum(1 for _ in folder.iterdir()) >= MOST_FILES:
            raise ApiError(507, f"this server keeps no more than {MOST_FILES}", "api_error")
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
            file.write(text)
        os.replace(file.name, path)
    except OSError as error:
        raise ApiError(507, f"it cannot be kept: {error.strerror}", "api_error") from None
