"""As few replicas as a load needs, and no fewer."""

from __future__ import annotations

import pytest

from rsdecode.capacity.planning import gpus_of, propose
from rsdecode.capacity.service_times import Measured, ServiceTimes
from rsdecode.capacity.simulation import Replicas, simulate
from rsdecode.capacity.traces import Trace, Work
from rsdecode.config import RunConfig
from rsdecode.core.errors import ConfigError
from rsdecode.core.types import Role

D, T = Role.DRAFT, Role.TARGET
LINEAR = ServiceTimes(((1, 0.01), (2, 0.02)), 0.0, 0.0, 0.0, 64)
"""A token takes 10 ms, however many are written: batching gains nothing."""
TRACE: Trace = ((Work(D, 1, 5),), (Work(T, 1, 20),))
FOUND = Measured({D: LINEAR, T: LINEAR}, (TRACE,), {})
ONE = {D: 1.0, T: 1.0}


def test_the_work_decides() -> None:
    """Of 10 problems a second the target has 2 seconds' work, the draft half a second's."""
    plan = propose(FOUND, ONE, rate=10, latency_s=2.0)
    assert plan.deployment[T].count >= 3
    assert plan.deployment[D].count == 1
    assert plan.at_rate.latency_s() <= 2.0
    assert plan.gpus == sum(of.count for of in plan.deployment.values())
    fewer = {D: plan.deployment[D], T: Replicas(plan.deployment[T].count - 1)}
    less = simulate(FOUND, fewer, problems=600, concurrency=10**6, rate=10)
    assert less.latency_s() > 2.0


def test_less_time_takes_more_replicas() -> None:
    slow = propose(FOUND, ONE, rate=5, latency_s=3.0)
    fast = propose(FOUND, ONE, rate=5, latency_s=0.5)
    assert fast.gpus > slow.gpus
    assert fast.at_rate.latency_s() <= 0.5


def test_what_no_replica_can_do_is_said() -> None:
    with pytest.raises(ConfigError, match=r"--latency 0\.2: a problem that is alone takes up to"):
        propose(FOUND, ONE, rate=1, latency_s=0.2)
    with pytest.raises(ConfigError, match="--rate 1e\\+06: needs more than 512 replicas"):
        propose(FOUND, ONE, rate=1e6, latency_s=1.0)


def test_gpus_of_a_replica() -> None:
    config = RunConfig.model_validate(
        {
            "draft": "hf:a/b",
            "target": "vllm:a/c",
            "vllm": {"target": {"tensor_parallel": 4}},
            "ray": {"draft": {"gpus": 0.25}},
        }
    )
    assert [gpus_of(config, role) for role in (D, T, Role.REWARD)] == [0.25, 4.0, 1.0]
