"""The page at `/`: static files that are shipped with the package."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, Response
from fastapi.responses import FileResponse

from rsdecode.server.errors import ApiError

router = APIRouter(include_in_schema=False)
FOLDER = Path(__file__).parent / "page"
POLICY = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
TYPES = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".woff2": "font/woff2",
    ".json": "application/json",
    ".txt": "text/plain",
}
"""Only files of these kinds are given out."""


@router.head("/", include_in_schema=False)
@router.get("/")
async def index() -> Response:
    """The page."""
    return _file("index.html")


@router.head("/page/{name:path}", include_in_schema=False)
@router.get("/page/{name:path}")
async def file(name: str) -> Response:
    """A file of the page."""
    return _file(name)


def _file(name: str) -> Response:
    """A file below the page's folder, wherever its name tries to point.

    Raises:
        ApiError: there is none.
    """
    kind = TYPES.get(Path(name).suffix)
    missing = ApiError(404, "there is no such file", code="not_found")
    if kind is None or "\0" in name or "\\" in name:
        raise missing
    path = (FOLDER / name).resolve()
    if not path.is_relative_to(FOLDER.resolve()) or not path.is_file():
        raise missing
    return FileResponse(path, media_type=kind, headers=HEADERS)
