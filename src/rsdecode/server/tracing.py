"""OpenTelemetry traces: a span for each request, and below it one for each step of its answers.

Where the extra `otel` is not installed, or no environment variable asks for traces, nothing of this
runs. Names of attributes: OpenTelemetry's conventions for HTTP and generative models, and `rsd.`
for what only RSD has.
"""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from rsdecode import __version__
from rsdecode.core.errors import ConfigError
from rsdecode.core.types import Step

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, Tracer

    from rsdecode.server.accounts import TokenCounts

EXPORTER = "OTEL_TRACES_EXPORTER"
ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
INSTALL = "pip install 'rsdecode[otel]'"


class RequestSpan:
    """The span of one request.

    Args:
        tracer: makes the spans of its steps.
        span: of the request.
    """

    def __init__(self, tracer: Tracer, span: Span) -> None:
        self._tracer = tracer
        self._span = span
        self._steps: dict[int, int] = {}
        self._begun = time.time_ns()

    def step(self, choice: int, index: int, step: Step) -> None:
        """A step has entered an answer; its span begins where the one before it ended."""
        from opentelemetry.trace import set_span_in_context

        now = time.time_ns()
        attributes: dict[str, Any] = {
            "rsd.choice": choice,
            "rsd.step": index,
            "rsd.source": step.source.value,
            "rsd.accepted": step.accepted,
            "rsd.tokens": step.token_count,
            "rsd.rejected": len(step.rejected),
        }
        optional = {"rsd.reward": step.reward, "rsd.weight": step.weight}
        attributes |= {name: value for name, value in optional.items() if value is not None}
        span = self._tracer.start_span(
            "rsd.step",
            context=set_span_in_context(self._span),
            start_time=self._steps.get(choice, self._begun),
            attributes=attributes,
        )
        span.end(now)
        self._steps[choice] = now

    def asked(self, **attributes: Any) -> None:
        """What the request asks for."""
        self._set(attributes)

    def answered(self, counts: Sequence[TokenCounts], reasons: Sequence[str]) -> None:
        """All answers have ended."""
        self._set(
            {
                "gen_ai.usage.input_tokens": max((c.prompt for c in counts), default=0),
                "gen_ai.usage.output_tokens": sum(c.completion for c in counts),
                "gen_ai.response.finish_reasons": tuple(reasons),
            }
        )

    def end(self, status: int, label: str | None) -> None:
        """The response was sent, or given up (499)."""
        from opentelemetry.trace import StatusCode

        self._set({"http.response.status_code": status, "rsd.key": label})
        if status >= 500:
            self._span.set_status(StatusCode.ERROR)
        self._span.end()

    def _set(self, attributes: Mapping[str, Any]) -> None:
        self._span.set_attributes({k: v for k, v in attributes.items() if v is not None})


_current: ContextVar[RequestSpan | None] = ContextVar("rsdecode_request_span", default=None)


def current_span() -> RequestSpan | None:
    """The span of the request that is being answered; None where nothing is traced."""
    return _current.get()


class Tracing:
    """Makes the spans of requests.

    Args:
        provider: of OpenTelemetry's SDK; shut down by `close`.
    """

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("rsdecode", __version__)

    @contextmanager
    def request(
        self, method: str, path: str, id: str, headers: Mapping[str, str]
    ) -> Generator[RequestSpan]:
        """The span of a request, below its client's (W3C `traceparent`); the caller ends it.

        Args:
            method: of HTTP.
            path: one of ours, or `other`.
            id: of the request, as in the log.
            headers: by lower-case name.
        """
        from opentelemetry.propagate import extract
        from opentelemetry.trace import SpanKind

        attributes = {"http.request.method": method, "http.route": path, "rsd.request_id": id}
        span = self._tracer.start_span(
            f"{method} {path}", extract(headers), SpanKind.SERVER, attributes
        )
        request = RequestSpan(self._tracer, span)
        token = _current.set(request)
        try:
            yield request
        finally:
            _current.reset(token)

    def close(self) -> None:
        """Send what was not sent yet."""
        self._provider.shutdown()


def start_tracing(environment: Mapping[str, str] = os.environ) -> Tracing | None:
    """Traces as OpenTelemetry's environment variables say; None where they ask for none.

    They are sent where an endpoint is set (`OTEL_EXPORTER_OTLP_ENDPOINT`), or an exporter is named
    (`OTEL_TRACES_EXPORTER`: otlp, console or any that is installed). Headers, sampling, resource
    and the rest are read by the SDK itself.

    Raises:
        ConfigError: what they ask for is not installed.
    """
    names = [name.strip() for name in environment.get(EXPORTER, "").split(",") if name.strip()]
    if not names and any(environment.get(name) for name in ENDPOINTS):
        names = ["otlp"]
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        names = []
    names = [name for name in names if name != "none"]
    if not names:
        return None
    try:
        from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise ConfigError(
            f"{EXPORTER} or {ENDPOINTS[-1]} asks for traces, which need OpenTelemetry: {INSTALL}; "
            "or set OTEL_SDK_DISABLED=true"
        ) from None
    named = Resource({SERVICE_NAME: "rsdecode"}).merge(OTELResourceDetector().detect())
    provider = TracerProvider(resource=Resource.create().merge(named))
    for name in names:
        provider.add_span_processor(BatchSpanProcessor(_exporter(name, environment)))
    return Tracing(provider)


def _exporter(name: str, environment: Mapping[str, str]) -> Any:
    """An exporter by its name among those that are installed.

    Raises:
        ConfigError: there is none.
    """
    if name == "otlp":
        given = (environment.get(variable) for variable in PROTOCOLS)
        protocol = next((value for value in given if value), "http/protobuf")
        name = "otlp_proto_grpc" if protocol == "grpc" else "otlp_proto_http"
    found = list(entry_points(group="opentelemetry_traces_exporter", name=name))
    if not found:
        installed = sorted({e.name for e in entry_points(group="opentelemetry_traces_exporter")})
        raise ConfigError(
            f"{EXPORTER}: there is no exporter {name!r}, only {', '.join(installed) or 'none'}: "
            f"{INSTALL}, or install opentelemetry's package of that name"
        )
    return found[0].load()()
