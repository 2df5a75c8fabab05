#!/usr/bin/env bash
# fastapi 0.165.0: after app.include_router(router), app.routes holds one object for the whole router
# (fastapi.routing._IncludedRouter) that has no attribute `path`, and the router's own routes are not
# in the list. Code that walks `app.routes` for paths, as middleware for metrics and route listings
# do, finds nothing and says nothing. With 0.115.0 the list held the routes themselves.
#
# Seen:   0.115.0: ['/a/b']
#         0.165.0: [] ['_IncludedRouter']; the route itself answers all the same
# Way out: walk router.routes of each router, before it is included.
#
# Exit code 0: it is so. 1: it is not so any more.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/walk.py" <<'PY'
import asyncio
import importlib.metadata

from fastapi import APIRouter, FastAPI

router = APIRouter()


@router.get("/a/b")
async def give() -> int:
    return 7


app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
app.include_router(router)
paths = [route.path for route in app.routes if hasattr(route, "path")]
kinds = [type(route).__name__ for route in app.routes]
bodies = []


async def receive():
    return {"type": "http.request", "body": b""}


async def send(message):
    bodies.append(message.get("body", b""))


scope = {
    "type": "http", "method": "GET", "path": "/a/b", "raw_path": b"/a/b", "root_path": "",
    "query_string": b"", "headers": [], "asgi": {"version": "3.0"}, "http_version": "1.1",
}
asyncio.run(app(scope, receive, send))
print(importlib.metadata.version("fastapi"), paths, kinds, b"".join(bodies).decode())
PY
look() {
  python3 -m venv "$folder/venv-$1"
  "$folder/venv-$1/bin/pip" install --quiet --disable-pip-version-check "fastapi==$1" "starlette==$2"
  "$folder/venv-$1/bin/python" "$folder/walk.py"
}

old=$(look 0.115.0 0.38.6)
new=$(look 0.165.0 1.10.0)
printf '%s\n%s\n' "$old" "$new"
[ "$old" = "0.115.0 ['/a/b'] ['APIRoute'] 7" ]
[ "$new" = "0.165.0 [] ['_IncludedRouter'] 7" ]
