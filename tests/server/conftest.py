from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest

import rsdecode
from rsdecode.backends.scripted import ScriptedModel, ScriptedReward
from rsdecode.config import RunConfig
from rsdecode.core.protocols import Models
from rsdecode.core.requests import Generate, Score
from rsdecode.server.app import create_app
from rsdecode.server.keys import Keys
from rsdecode.server.service import Service

DRAFT = ["2 + 2 = 4.\n\n", "So it is 5.\n\n", "The answer is \\boxed{4}."]
TARGET = ["Two and two.\n\n", "It is 4.\n\n", "Answer: \\boxed{4}."]
REWARDS = [0.9, 0.2, 0.8]
"""The draft's second step is rejected; the target writes "It is 4." instead."""
ANSWER = DRAFT[0] + TARGET[1] + DRAFT[2]
NO_KEYS = Keys({})
QUESTION = "What is 2 + 2?"
FAMILY_QUESTION = (
    "Olga starts with 24 buttons. A shop pays 3 coins for each of the buttons. "
    "What is the final number of coins?"
)


def writer(steps: list[str]) -> Callable[[Generate], str]:
    """Writes the step whose turn it is, or all that is left."""

    def write(request: Generate) -> str:
        left = steps[len(request.context.answer) :]
        return "".join(left[:1] if request.boundary.stops else left)

    return write


def judge(request: Score) -> list[float]:
    first = len(request.context.answer)
    return [REWARDS[first + i] for i in range(len(request.steps))]


def scripted(
    draft: list[str] = DRAFT, target: list[str] = TARGET, latency_s: float = 0.0
) -> Models:
    return Models(
        ScriptedModel(writer(draft), latency_s=latency_s),
        ScriptedModel(writer(target), latency_s=latency_s),
        ScriptedReward(judge, latency_s=latency_s),
    )


class Server:
    """An application in this process, and a client for it."""

    def __init__(self, service: Service, client: httpx2.AsyncClient, app: Any) -> None:
        self.service = service
        self.client = client
        self.app = app

    async def chat(self, **body: Any) -> httpx2.Response:
        return await self.client.post("/v1/chat/completions", json=asked(**body))


def asked(**body: Any) -> dict[str, Any]:
    return {"model": "rsd", "messages": [{"role": "user", "content": QUESTION}], **body}


Start = Callable[..., Any]


@pytest.fixture
async def start() -> AsyncGenerator[Start]:
    """Starts an application: `await start(models, settings, keys=...)`."""
    async with AsyncExitStack() as stack:

        async def start(
            models: Models | None = None,
            keys: Keys = NO_KEYS,
            *,
            run: dict[str, Any] | None = None,
            config: dict[str, Any] | None = None,
            **server: Any,
        ) -> Server:
            settings = {"server": server, "run": run or {}, **(config or {})}
            service = Service(
                RunConfig.model_validate(settings), scripted() if models is None else models
            )
            app = create_app(service, keys)
            transport = httpx2.ASGITransport(app=app)
            client = httpx2.AsyncClient(transport=transport, base_url="http://server")
            stack.push_async_callback(service.close)
            return Server(service, await stack.enter_async_context(client), app)

        yield start


class Process:
    """A server in a process of its own."""

    def __init__(self, process: subprocess.Popen[str], address: str, log: Path, out: Path) -> None:
        self.process = process
        self.address = address
        self.log = log
        self.out = out

    @property
    def base_url(self) -> str:
        return f"{self.address}/v1"


Launch = Callable[..., Process]


def launcher(folder: Path, started: list[Process]) -> Launch:
    def launch(*arguments: object, **environment: str) -> Process:
        log = folder / f"server{len(started)}.log"
        source = str(Path(rsdecode.__file__).parents[1])
        command = [sys.executable, "-m", "rsdecode", "serve", "--port", "0", *map(str, arguments)]
        out = log.with_suffix(".out")
        with log.open("w") as errors, out.open("w") as output:
            process = subprocess.Popen(
                command,
                env=os.environ | {"PYTHONPATH": source} | environment,
                stderr=errors,
                stdout=output,
                text=True,
            )
        address = _address(process, log)
        started.append(Process(process, address, log, out))
        return started[-1]

    return launch


def _address(process: subprocess.Popen[str], log: Path, timeout_s: float = 240.0) -> str:
    import time

    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        for line in log.read_text().splitlines():
            if line.startswith("rsd serve: "):
                return line.split()[2].removesuffix("/v1")
        if process.poll() is not None:
            break
        time.sleep(0.05)
    process.kill()
    raise RuntimeError(f"the server did not start: {log.read_text()}")


def _end(started: list[Process]) -> None:
    for server in started:
        server.process.kill()
        server.process.wait()


@pytest.fixture
def launch(tmp_path: Path) -> Generator[Launch]:
    """Starts `rsd serve` with options; all are ended after the test."""
    started: list[Process] = []
    yield launcher(tmp_path, started)
    _end(started)


@pytest.fixture(scope="session")
def family(tmp_path_factory: pytest.TempPathFactory) -> Generator[Process]:
    """A server of the embedded family."""
    started: list[Process] = []
    yield launcher(tmp_path_factory.mktemp("server"), started)("--max-tokens", 256)
    _end(started)
