"""The fewest GPUs that carry a load: replicas are added where they help most."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rsdecode.capacity.service_times import Measured
from rsdecode.capacity.simulation import Deployment, Outcome, Replicas, simulate
from rsdecode.config import RunConfig
from rsdecode.config.specs import SpecKind, parse_model_spec, parse_reward_spec
from rsdecode.core.errors import ConfigError
from rsdecode.core.types import Role

SHARE = 0.95
"""Of the problems that are to be solved in time."""
FULL = 0.95
"""Share of the time that a replica may work: at 1 the line of those that wait has no end."""
MOST_REPLICAS = 512
ANY = 1_000_000
"""Problems in flight, where they are not limited."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A deployment for a load.

    Attributes:
        deployment: replicas of each model.
        rate: problems that arrive in a second.
        at_rate: what it does then.
        full: what it does when problems always wait.
    """

    deployment: dict[Role, Replicas]
    rate: float
    at_rate: Outcome
    full: Outcome

    @property
    def gpus(self) -> float:
        """Of all replicas together."""
        return sum(of.count * of.device for of in self.deployment.values())

    @property
    def bottleneck(self) -> Role:
        """The model that limits the problems in a second."""
        return self.full.bottleneck

    def record(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "rate": self.rate,
            "replicas": {role.value: of.count for role, of in self.deployment.items()},
            "gpus_of_a_replica": {role.value: of.device for role, of in self.deployment.items()},
            "gpus": round(self.gpus, 4),
            "busy": {role.value: round(busy, 4) for role, busy in self.at_rate.busy.items()},
            "latency_p50_s": round(self.at_rate.latency_s(0.5), 4),
            "latency_p95_s": round(self.at_rate.latency_s(SHARE), 4),
            "in_flight": self.at_rate.in_flight,
            "capacity_problems_per_s": round(self.full.problems_per_s, 4),
            "bottleneck": self.bottleneck.value,
        }


def gpus_of(config: RunConfig, role: Role) -> float:
    """GPUs of one replica: `ray.ROLE.gpus`, else the tensor parallelism of vLLM, else one."""
    own = config.ray.of(role).gpus
    if own:
        return own
    spec = {Role.DRAFT: config.draft, Role.TARGET: config.target}.get(role)
    kind = parse_reward_spec(config.reward.spec).kind if spec is None else None
    if (kind or parse_model_spec(spec or "").kind) is SpecKind.VLLM:
        return float(config.vllm.of(role).tensor_parallel or 1)
    return 1.0


def propose(measured: Measured, gpus: Mapping[Role, float], rate: float, latency_s: float) -> Plan:
    """Replicas for a load.

    Args:
        measured: a short real run.
        gpus: of one replica of each model.
        rate: problems that arrive in a second, at random.
        latency_s: seconds in which 95 % of them are to be solved.

    Raises:
        ConfigError: no number of replicas is fast enough.
    """
    counts = dict.fromkeys(measured.times, 1)
    alone = simulate(measured, _replicas(counts, gpus), problems=100, concurrency=1)
    # with one at a time, latencies count the wait for others: what a problem takes is the rest
    fastest = _alone(alone)
    if fastest > latency_s:
        raise ConfigError(
            f"--latency {latency_s:g}: a problem that is alone takes up to {fastest:.3g} s, "
            "whatever the replicas: allow more, or take faster models, GPUs or a smaller max_tokens"
        )
    full = simulate(measured, _replicas(counts, gpus), problems=_enough(rate), concurrency=ANY)
    for role in counts:
        work_s = full.work_s[role] / len(full.latencies_s)
        counts[role] = max(1, math.ceil(rate * work_s / FULL))
    while True:
        _check(counts, rate)
        outcome = _at_rate(measured, counts, gpus, rate)
        if outcome.latency_s(SHARE) <= latency_s:
            break
        counts = _one_more(measured, counts, gpus, rate, outcome)
    deployment = _replicas(counts, gpus)
    full = simulate(measured, deployment, problems=_enough(rate), concurrency=ANY)
    return Plan(deployment, rate, outcome, full)


def _one_more(
    measured: Measured,
    counts: Mapping[Role, int],
    gpus: Mapping[Role, float],
    rate: float,
    now: Outcome,
) -> dict[Role, int]:
    """With one more replica, where a GPU shortens the wait most."""

    def gain(role: Role) -> float:
        more = {**counts, role: counts[role] + 1}
        saved = now.latency_s(SHARE) - _at_rate(measured, more, gpus, rate).latency_s(SHARE)
        return saved / gpus[role]

    gains = {role: gain(role) for role in counts}
    chosen = max(gains, key=lambda role: gains[role])
    if gains[chosen] <= 0:
        chosen = max(counts, key=lambda role: now.busy[role])
    return {**counts, chosen: counts[chosen] + 1}


def _at_rate(
    measured: Measured, counts: Mapping[Role, int], gpus: Mapping[Role, float], rate: float
) -> Outcome:
    deployment = _replicas(counts, gpus)
    return simulate(measured, deployment, problems=_enough(rate), concurrency=ANY, rate=rate)


def _replicas(counts: Mapping[Role, int], gpus: Mapping[Role, float]) -> dict[Role, Replicas]:
    return {role: Replicas(count, gpus[role]) for role, count in counts.items()}


def _enough(rate: float) -> int:
    """Problems of a simulation: a minute of them, within what is quick and not all chance."""
    return int(min(max(60 * rate, 400), 3000))


def _alone(one_at_a_time: Outcome) -> float:
    """Seconds of a problem that is alone; with all at the start each waits for those before it."""
    ends = one_at_a_time.latencies_s
    took = sorted(end - before for before, end in zip((0.0, *ends), ends, strict=False))
    return took[min(len(took) - 1, int(SHARE * len(took)))]


def _check(counts: Mapping[Role, int], rate: float) -> None:
    if sum(counts.values()) > MOST_REPLICAS:
        needs = ", ".join(f"{count} of the {role}" for role, count in counts.items())
        raise ConfigError(
            f"--rate {rate:g}: needs more than {MOST_REPLICAS} replicas ({needs}): plan for a part "
            "of it, and multiply"
        )


def described(deployment: Deployment) -> str:
    """For people."""
    return ", ".join(f"{of.count} x {role}" for role, of in deployment.items())
