"""A real nginx with the configuration of examples/serve in front of a server."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.server.conftest import FAMILY_QUESTION, Process, launcher

NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
CONF = Path(__file__).parents[3] / "examples/serve/nginx.conf"
KEY = "a-key-of-tests-0123456789"
HEADERS = {"Authorization": f"Bearer {KEY}"}
pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not os.environ.get("RSD_TEST_CLIENTS"), reason="make test-clients"),
    pytest.mark.skipif(NGINX is None, reason="nginx is not installed"),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Process]:
    started: list[Process] = []
    launch = launcher(tmp_path_factory.mktemp("server"), started)
    yield launch("--max-tokens", 2000, RSD_API_KEYS=f"me:{KEY}")
    for process in started:
        process.process.kill()
        process.process.wait()


@pytest.fixture(scope="module")
def proxy(server: Process, tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    folder = tmp_path_factory.mktemp("nginx")
    port = 18080 + os.getpid() % 1000
    written = CONF.read_text().replace("127.0.0.1:8000", server.address.removeprefix("http://"))
    (folder / "rsd.conf").write_text(written.replace("listen 8080", f"listen 127.0.0.1:{port}"))
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/pid; error_log {folder}/error.log;\n"
        f"events {{}}\nhttp {{ access_log off; client_body_temp_path {folder}/body;\n"
        f"proxy_temp_path {folder}/proxy; include {folder}/rsd.conf; }}\n"
    )
    command = [str(NGINX), "-c", str(folder / "nginx.conf"), "-p", str(folder)]
    with subprocess.Popen(command) as process:
        address = f"http://127.0.0.1:{port}"
        for _ in range(100):
            try:
                httpx2.get(f"{address}/health")
                break
            except httpx2.TransportError:
                time.sleep(0.1)
        yield address
        process.terminate()


def body(**more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": FAMILY_QUESTION}]
    return {"model": "rsd", "messages": messages, "seed": 0, **more}


def test_streams_are_not_held_back(server: Process, proxy: str) -> None:
    """Chunks come one by one, spread over the answer's time as without the proxy."""
    times: list[float] = []
    text, url = "", f"{proxy}/v1/chat/completions"
    with httpx2.stream("POST", url, json=body(stream=True), headers=HEADERS, timeout=120) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        for line in stream.iter_lines():
            if line.startswith("data: {"):
                times.append(time.monotonic())
                for choice in json.loads(line[6:])["choices"]:
                    text += choice["delta"].get("content") or ""
    assert len(times) >= 4
    assert len(set(times)) >= 4
    assert max(times) - min(times) > 0.005
    direct = httpx2.post(
        f"{server.base_url}/chat/completions", json=body(), headers=HEADERS, timeout=120
    )
    assert text == direct.json()["choices"][0]["message"]["content"]


def running(server: Process) -> float:
    lines = httpx2.get(f"{server.address}/metrics", headers=HEADERS).text.splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith("rsd_running ")))


def test_a_client_that_leaves_the_proxy_frees_its_place(server: Process, proxy: str) -> None:
    many: dict[str, Any] = {"model": "rsd/target", "n": 64, "temperature": 5.0, "stream": True}
    url, asked = f"{proxy}/v1/chat/completions", body() | many
    with httpx2.stream("POST", url, json=asked, headers=HEADERS, timeout=120) as stream:
        lines = stream.iter_lines()  # closing it would close the connection
        next(lines)
        assert running(server) > 0
    end = time.monotonic() + 10
    while running(server) and time.monotonic() < end:
        time.sleep(0.05)
    assert running(server) == 0


def test_keys_errors_and_the_page_pass_through(proxy: str) -> None:
    refused = httpx2.post(f"{proxy}/v1/chat/completions", json=body())
    assert refused.status_code == 401
    assert refused.json()["error"]["code"] == "invalid_api_key"
    unknown = httpx2.post(
        f"{proxy}/v1/chat/completions", json=body() | {"model": "nothing"}, headers=HEADERS
    )
    assert unknown.status_code == 404
    assert len(unknown.headers["x-request-id"]) == 32  # nginx's own, which rsd keeps
    assert "<html" in httpx2.get(f"{proxy}/").text.lower()
    assert httpx2.head(f"{proxy}/").status_code == 200
    huge = httpx2.post(
        f"{proxy}/v1/chat/completions", content=b"x" * (2 << 20), headers=HEADERS, timeout=60
    )
    assert huge.status_code == 413
