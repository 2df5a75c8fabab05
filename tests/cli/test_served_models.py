"""`rsd solve` over servers."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from tests.backends.openai_http.local_server import LocalServer
from tests.backends.openai_http.scripted_server import NAME, solution, vllm
from tests.cli.conftest import Rsd


@pytest.fixture
def server() -> Iterator[LocalServer]:
    served = LocalServer(vllm("draft"))
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever, daemon=True)
    thread.start()
    asyncio.run_coroutine_threadsafe(served.start(), loop).result()
    yield served
    asyncio.run_coroutine_threadsafe(served.stop(), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def test_solve_and_doctor(rsd: Rsd, server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RSD_API_KEY", "sk-secret")
    spec = f"{server.url}#{NAME}"
    models = ["--draft", spec, "--target", spec, "--reward", f"judge:{spec}"]
    result = rsd("solve", "Q", *models, "--json")
    assert result.code == 0, result.err
    [record] = result.records
    assert record["stop_reason"] == "eos"
    assert "".join(step["text"] for step in record["steps"]) == solution("Q", "draft")
    assert all(headers["authorization"] == "Bearer sk-secret" for headers in server.headers)
    found = rsd("doctor", *models, "--json")
    assert found.code == 0, found.out
    assert "sk-secret" not in result.out + result.err + found.out + found.err


def test_a_server_that_is_not_there(rsd: Rsd) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        gone = f"http://127.0.0.1:{free.getsockname()[1]}/v1#{NAME}"
    config = Path("http.yaml")
    config.write_text("http: {attempts: 1}\n")
    arguments = ["--draft", gone, "--method", "draft", "--config", config]
    result = rsd("solve", "Q", *arguments, "--json")
    assert result.code == 1
    assert "ConnectError" in result.err
    assert result.records[0]["stop_reason"] == "error"
