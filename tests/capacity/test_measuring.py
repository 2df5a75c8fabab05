"""A short run of the embedded family, and the file that keeps it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rsdecode.capacity.measuring import hosts, measure
from rsdecode.capacity.service_times import Measured
from rsdecode.config import RunConfig
from rsdecode.config.build import build_method, build_models, build_problem
from rsdecode.core.errors import ConfigError
from rsdecode.core.types import Role
from rsdecode.models.abacus import problems
from rsdecode.session.drive import drive


def test_a_run_is_written_down(tmp_path: Path) -> None:
    config = RunConfig.model_validate({"run": {"concurrency": 4}})
    some = [build_problem(config, p.question, id=p.id) for p in problems("test", limit=3)]
    models, method = build_models(config), build_method(config)
    try:
        models.clear()
        trajectory = drive(method(some[0]), models)
        models.clear()
        found = measure(config, models, method, some)
    finally:
        models.close()
    assert len(found.traces) == 3
    asked = {
        role: [work for trace in found.traces for a in trace for work in a if work.role is role]
        for role in Role
    }
    assert sum(work.write for work in asked[Role.DRAFT]) >= trajectory.ledger.draft.decoded_tokens
    assert all(work.write == 0 for work in asked[Role.REWARD])
    for role, times in found.times.items():
        assert times.max_batch == 4
        assert times.reading(50) > 0
        assert role is Role.REWARD or times.decoding(4) > 0
    file = tmp_path / "times.json"
    found.save(file)
    assert Measured.load(file) == found


@pytest.mark.parametrize("text", ["no JSON", "[]", '{"format": "another"}'])
def test_another_file_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "times.json"
    file.write_text(text)
    with pytest.raises(ConfigError, match="is no file of rsd plan --save"):
        Measured.load(file)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "times.json"
    file.write_text(json.dumps({"format": "rsdecode service times, 1", "traces": []}))
    with pytest.raises(ConfigError, match=r"damaged .*: measure anew"):
        Measured.load(file)


def test_who_serves_the_reward() -> None:
    def of(reward: str) -> object:
        return hosts(RunConfig.model_validate({"reward": {"spec": reward}})).get(Role.REWARD)

    assert of("abacus:prm") is Role.REWARD
    assert of("likelihood:target") is Role.TARGET
    assert of("arithmetic") is None
