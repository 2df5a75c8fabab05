"""What `benchmarks/scale.py` measures is what it says; how long that takes is for its command."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks import overhead, scale


def test_every_step_of_a_scripted_problem_is_timed() -> None:
    assert len(overhead.step_seconds(7)) == 6
    assert all(seconds > 0 for seconds in overhead.step_seconds(7))


def test_problems_in_flight() -> None:
    case = scale.in_flight(30)
    assert case["ms_per_step"] > 0
    assert case["peak_mib"] >= case["before_mib"] > 0


def test_steps_in_the_engine_are_those_of_one_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    small = scale._SIZES | {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    shape = replace(scale.SHAPE, models=dict.fromkeys(scale.Role, small), step=2, steps=4, prompt=8)
    monkeypatch.setattr(scale, "LATE", 4)
    case = scale.network_steps(shape, rounds=1)
    assert case.keys() > {"early_ms", "late_ms", "ratio", "attention", "beyond", "over_bare"}
    assert case["ratio"] == pytest.approx(case["late_ms"] / case["early_ms"], abs=0.05)
