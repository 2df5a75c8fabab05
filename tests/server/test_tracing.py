"""OpenTelemetry: spans of requests and steps, below the client's own."""

from __future__ import annotations

import http.server
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator
from typing import Any

import httpx2
import pytest

from rsdecode.config import RunConfig
from rsdecode.core.errors import ConfigError
from rsdecode.server.app import create_app
from rsdecode.server.keys import Keys
from rsdecode.server.service import Service
from rsdecode.server.tracing import Tracing, start_tracing
from tests.server.conftest import FAMILY_QUESTION, NO_KEYS, asked, scripted

pytest.importorskip("opentelemetry.sdk")
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = {"traceparent": f"00-{TRACE}-{PARENT}-01"}


class Traced:
    def __init__(self, keys: Keys = NO_KEYS) -> None:
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

        self.exporter = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.service = Service(RunConfig(), scripted())
        app = create_app(self.service, keys, Tracing(provider))
        transport = httpx2.ASGITransport(app=app)
        self.client = httpx2.AsyncClient(transport=transport, base_url="http://server")

    def spans(self) -> list[Any]:
        return list(self.exporter.get_finished_spans())

    async def chat(self, headers: dict[str, str] | None = None, **body: Any) -> httpx2.Response:
        return await self.client.post("/v1/chat/completions", json=asked(**body), headers=headers)


@pytest.fixture
async def traced() -> AsyncGenerator[Traced]:
    made = Traced()
    yield made
    await made.service.close()


@pytest.mark.parametrize("stream", [False, True])
async def test_a_span_of_the_request_and_one_of_each_step(traced: Traced, stream: bool) -> None:
    response = await traced.chat(TRACEPARENT, seed=7, stream=stream, n=2)
    assert response.status_code == 200
    *steps, request = traced.spans()
    assert request.name == "POST /v1/chat/completions"
    assert request.kind.name == "SERVER"
    assert f"{request.context.trace_id:032x}" == TRACE
    assert f"{request.parent.span_id:016x}" == PARENT
    told = dict(request.attributes)
    assert told["http.response.status_code"] == 200
    assert told["rsd.request_id"] == response.headers["x-request-id"]
    assert (told["rsd.method"], told["rsd.seed"]) == ("rsd", "7")
    assert told["gen_ai.request.model"] == "rsd"
    assert told["gen_ai.response.finish_reasons"] == ("stop", "stop")
    assert told["gen_ai.usage.output_tokens"] > 10
    for choice in range(2):
        own = [s for s in steps if s.attributes["rsd.choice"] == choice]
        assert [s.attributes["rsd.source"] for s in own] == ["draft", "target", "draft"]
        assert [s.attributes["rsd.reward"] for s in own] == [0.9, 0.2, 0.8]
        assert [s.attributes["rsd.weight"] for s in own] == [1.0, 0.0, 1.0]
        assert [s.attributes["rsd.rejected"] for s in own] == [0, 1, 0]
        assert all(s.attributes["rsd.tokens"] > 0 for s in own)
        assert [s.start_time for s in own[1:]] == [s.end_time for s in own[:-1]]
        for step in own:
            assert step.parent.span_id == request.context.span_id
            assert request.start_time <= step.start_time < step.end_time <= request.end_time


async def test_refusals_and_failures_are_spans_too_without_keys_or_questions(
    traced: Traced,
) -> None:
    await traced.chat(model="no-such-model")
    traced.service.draining = True
    await traced.chat()
    await traced.client.get("/health")
    refused, failed = traced.spans()
    assert refused.attributes["http.response.status_code"] == 404
    assert refused.status.status_code.name == "UNSET"
    assert failed.attributes["http.response.status_code"] == 503
    assert failed.status.status_code.name == "ERROR"
    closed = Traced(Keys({"me": "a-secret-key"}))
    await closed.chat({"Authorization": "Bearer wrong-secret"})
    await closed.chat({"Authorization": "Bearer a-secret-key"})
    await closed.service.close()
    unauthorized, *_, allowed = closed.spans()
    assert unauthorized.attributes["http.response.status_code"] == 401
    assert allowed.attributes["rsd.key"] == "me"
    for span in closed.spans():
        assert "secret" not in span.to_json()
        assert "2 + 2" not in span.to_json()


def test_nothing_is_traced_unless_the_environment_asks_for_it() -> None:
    assert start_tracing({}) is None
    assert start_tracing({"OTEL_TRACES_EXPORTER": "none"}) is None
    endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    assert start_tracing({**endpoint, "OTEL_SDK_DISABLED": "true"}) is None
    with pytest.raises(ConfigError, match=r"no exporter 'nowhere', only .*otlp"):
        start_tracing({"OTEL_TRACES_EXPORTER": "nowhere"})
    traced = start_tracing({"OTEL_TRACES_EXPORTER": "console"})
    assert traced is not None
    traced.close()


def test_no_cost_where_nothing_is_traced() -> None:
    """FastAPI itself loads OpenTelemetry's API where that is installed; the SDK is ours to load."""
    code = (
        "import sys, rsdecode.server.app, rsdecode.server.serving as s\n"
        "from rsdecode.server.tracing import start_tracing\n"
        "assert start_tracing({}) is None\n"
        "assert not [m for m in sys.modules if m.startswith('opentelemetry.sdk')]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ)


def test_what_is_asked_for_and_not_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(ConfigError, match=r"rsdecode\[otel\]"):
        start_tracing({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"})


def test_spans_reach_a_collector_before_the_server_ends(launch) -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    bodies: list[tuple[str, bytes]] = []

    class Collector(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            bodies.append((self.path, body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector) as collector:
        threading.Thread(target=collector.serve_forever, daemon=True).start()
        endpoint = f"http://127.0.0.1:{collector.server_port}"
        settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_SERVICE_NAME": "my-rsd"}
        server = launch("--max-tokens", 64, **settings)
        body = asked(messages=[{"role": "user", "content": FAMILY_QUESTION}], seed=1)
        response = httpx2.post(f"{server.base_url}/chat/completions", json=body, timeout=60)
        assert response.status_code == 200
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(60) == 0
        collector.shutdown()
    assert {path for path, _ in bodies} == {"/v1/traces"}
    sent = b"".join(body for _, body in bodies)
    for word in (b"my-rsd", b"rsd.step", b"rsd.source", b"POST /v1/chat/completions"):
        assert word in sent
