"""What `/metrics` tells."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from rsdecode.core.types import Role
from rsdecode.server.answers import EndPart

if TYPE_CHECKING:
    from rsdecode.core.types import Trajectory

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250)
TENTHS = tuple(tenth / 10 for tenth in range(1, 11))


class Metrics:
    """Counters of one server, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        counter, histogram = self._counter, self._histogram
        self.requests = counter("requests", "Requests by path and status.", "path", "status")
        self.refused = counter("refused", "Requests that were refused, by limit.", "limit")
        self.answers = counter("answers", "Answers by method and end.", "method", "finish_reason")
        self.steps = counter("steps", "Steps of answers, by who wrote them.", "source")
        self.rejected = counter("rejected_steps", "Draft steps that entered no answer.")
        self.tokens = counter("tokens", "Tokens by role, and how they came about.", "role", "kind")
        self.flops = counter("flops", "FLOPs by role.", "role")
        self.alone = counter("target_alone_flops", "FLOPs of the target alone for the answers.")
        self.rewards = histogram("reward", "Rewards of draft steps.", TENTHS)
        self.seconds = histogram("answer_seconds", "Time of a whole answer.", SECONDS)
        self.first = histogram("first_text_seconds", "Time to an answer's first text.", SECONDS)
        self.per_token = histogram(
            "token_seconds", "Time of an answer by its tokens.", tuple(s / 100 for s in SECONDS)
        )
        self.saved = self._gauge("flops_saved_ratio", "Share of FLOPs saved against the target.")
        self._spent = self._alone = 0.0

    def watch(self, running: Callable[[], int], waiting: Callable[[], int]) -> None:
        """Tell the answers in flight and in the queue, under our names and under vLLM's."""
        for name, value in (("num_requests_running", running), ("num_requests_waiting", waiting)):
            gauge = Gauge(f"vllm:{name}", "As vLLM has it.", registry=self.registry)
            gauge.set_function(value)
        self._gauge("running", "Answers being written.").set_function(running)
        self._gauge("waiting", "Answers in the queue.").set_function(waiting)

    def watch_cache(self, used: Callable[[], float]) -> None:
        """Tell the share of the places for answers that is taken."""
        name = "vllm:kv_cache_usage_perc"
        Gauge(name, "As vLLM has it.", registry=self.registry).set_function(used)

    def first_text(self, seconds: float) -> None:
        """An answer's first text was there after `seconds`."""
        self.first.observe(seconds)

    def ended(self, part: EndPart, method: str, seconds: float) -> None:
        """An answer by a kind of method has ended."""
        self.answers.labels(method, part.record["finish_reason"]).inc()
        self.seconds.observe(seconds)
        if part.counts.completion:
            self.per_token.observe(seconds / part.counts.completion)
        self._count_steps(part.trajectory)
        flops = part.record["flops"]
        for role in Role:
            usage = part.trajectory.ledger.of(role)
            self.tokens.labels(role.value, "computed").inc(usage.prefill_tokens)
            self.tokens.labels(role.value, "cached").inc(usage.cached_tokens)
            self.tokens.labels(role.value, "written").inc(usage.decoded_tokens)
            self.flops.labels(role.value).inc(flops[role.value] or 0.0)
        if flops["total"] is not None and flops["target_alone"]:
            self.alone.inc(flops["target_alone"])
            self._spent += flops["total"]
            self._alone += flops["target_alone"]
            self.saved.set(1.0 - self._spent / self._alone)

    def text(self) -> bytes:
        """All of it, in the format of Prometheus."""
        return generate_latest(self.registry)

    def _count_steps(self, trajectory: Trajectory) -> None:
        for step in trajectory.steps:
            self.steps.labels(step.source.value).inc()
            self.rejected.inc(len(step.rejected))
            if step.reward is not None:
                self.rewards.observe(step.reward)

    def _counter(self, name: str, help: str, *labels: str) -> Counter:
        return Counter(f"rsd_{name}", help, labels, registry=self.registry)

    def _gauge(self, name: str, help: str) -> Gauge:
        return Gauge(f"rsd_{name}", help, registry=self.registry)

    def _histogram(self, name: str, help: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"rsd_{name}", help, buckets=buckets, registry=self.registry)
