"""Simulated replicas do what can be reckoned by hand."""

from __future__ import annotations

import pytest

from rsdecode.capacity.service_times import Measured, ServiceTimes
from rsdecode.capacity.simulation import Outcome, Replicas, simulate
from rsdecode.capacity.traces import Trace, Work
from rsdecode.core.types import Role

D, T, R = Role.DRAFT, Role.TARGET, Role.REWARD
CONSTANT = ServiceTimes(((1, 0.01), (32, 0.01)), 0.1, 0.001, 0.0, 32)
"""A decoding pass takes 10 ms, however many it writes for; one over prompts .1 s, 1 ms a token."""


def measured(*traces: Trace, times: ServiceTimes = CONSTANT) -> Measured:
    roles = {work.role for trace in traces for asked in trace for work in asked}
    return Measured(dict.fromkeys(roles, times), traces, {})


def run(
    found: Measured, problems: int = 1, concurrency: int = 100, **replicas: Replicas
) -> Outcome:
    deployment = {Role(name): of for name, of in replicas.items()}
    return simulate(found, deployment, problems=problems, concurrency=concurrency)


def test_one_problem_takes_the_sum_of_its_requests() -> None:
    trace = ((Work(D, 50, 11),), (Work(D, 1, 5),))
    outcome = run(measured(trace), draft=Replicas(1))
    # .1 + 50 ms for the prompt and the first token, 10 more; then 5, of which none needs a prompt
    assert outcome.latencies_s[0] == pytest.approx(0.15 + 10 * 0.01 + 5 * 0.01)
    assert outcome.busy[D] == pytest.approx(1.0)


def test_requests_of_a_round_are_served_together() -> None:
    trace = ((Work(D, 1, 10), Work(D, 1, 10), Work(D, 1, 4)),)
    assert run(measured(trace), draft=Replicas(1)).latencies_s == pytest.approx((0.1,))


def test_a_batch_has_an_end() -> None:
    few = ServiceTimes(((1, 0.01),), 0.0, 0.0, 0.0, max_batch=2)
    outcome = run(measured(((Work(D, 1, 10),),), times=few), problems=4, draft=Replicas(1))
    assert outcome.latencies_s == pytest.approx((0.1, 0.1, 0.2, 0.2))


def test_problems_in_flight_are_limited() -> None:
    outcome = run(measured(((Work(D, 1, 10),),)), 3, 1, draft=Replicas(1))
    assert outcome.latencies_s == pytest.approx((0.1, 0.2, 0.3))
    assert outcome.in_flight == 1


def test_replicas_share_the_problems() -> None:
    found = measured(((Work(R, 100, 0),),))
    one = run(found, problems=40, reward=Replicas(1))
    two = run(found, problems=40, reward=Replicas(2))
    assert two.problems_per_s == pytest.approx(2 * one.problems_per_s, rel=0.05)


def test_engines_that_share_a_device_take_turns() -> None:
    trace = ((Work(D, 1, 20), Work(T, 1, 20)),)
    apart = run(measured(trace), draft=Replicas(1), target=Replicas(1))
    together = run(measured(trace), draft=Replicas(1, 0.5), target=Replicas(1, 0.5))
    assert apart.latencies_s == pytest.approx((0.2,))
    assert together.latencies_s == pytest.approx((0.4,))
    assert together.load == pytest.approx({D: 1.0, T: 1.0})
    assert together.busy == pytest.approx({D: 0.5, T: 0.5})


def test_the_bottleneck_is_the_busiest() -> None:
    trace = ((Work(D, 1, 5),), (Work(T, 1, 20),))
    found = measured(trace, times=ServiceTimes(((1, 0.01), (2, 0.02)), 0.0, 0.0, 0.0, 32))
    assert run(found, 20, draft=Replicas(1), target=Replicas(1)).bottleneck is T
    assert run(found, 20, draft=Replicas(1), target=Replicas(8)).bottleneck is D
    assert run(found, 20, draft=Replicas(1, 0.5), target=Replicas(1, 0.5)).bottleneck is T


def test_arrivals_are_repeatable_and_slower_ones_wait_less() -> None:
    found = measured(((Work(T, 100, 20),),))
    runs = [
        simulate(found, {T: Replicas(1)}, problems=200, concurrency=100, rate=rate, seed=3)
        for rate in (1.0, 1.0, 4.0)
    ]
    assert runs[0] == runs[1]
    assert runs[2].latency_s() > runs[0].latency_s()
